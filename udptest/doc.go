// Package udptest simulates a network for tests: hosts, links and routers in the memory of one
// process that lose, delay, duplicate, reorder and refuse datagrams as configured. Code that
// uses package udp runs on it unchanged, with [Host.Config] as its udp.Config or with
// [Host.Network] in Config.Network.
//
//	n := udptest.NewNet(t, udptest.Config{Seed: 1})
//	a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
//	a.Out().Set(udptest.Faults{Loss: 0.1, Latency: 30 * time.Millisecond})
//	server, err := b.Config().Listen(ctx, "udp", ":53", handler)
//
// To test a handler alone, without a network, see [Recorder] and [Datagram].
//
// # Time
//
// There is no clock to pass around. The network uses package time, and whatever waits in it is
// durably blocked in the sense of [testing/synctest]. Inside a bubble time is virtual, so an
// hour of traffic takes milliseconds, and [Net.Settle] waits for the datagrams in flight.
// Outside a bubble everything works the same in real time. A Net belongs to the bubble in which
// it was created.
//
// # Coalesced packets
//
// Sockets read as with UDP_GRO: consecutive datagrams of one sender and one size that arrive at
// the same instant reach the socket in one read and share a buffer, up to 64 of them. The seed
// splits about one pair in eight, so that programs meet reads of all sizes.
// udp.Config.NoOffload turns it off.
//
// # Repeating a run
//
// The faults of a datagram depend on [Config.Seed], the link, the sending socket, and the number
// of datagrams that the socket has sent before, and on nothing else. Datagrams that arrive at
// the same instant are delivered by sender, and those of one sender in the order of sending. So
// in a bubble a run repeats byte for byte, however its goroutines are scheduled and on any
// number of processors, unless a host races with itself. These can make a difference:
//
//   - Goroutines of one host send at the same instant by one socket, or open sockets at the same
//     instant.
//   - Goroutines of one host send at the same instant by several sockets, and the order on the
//     link matters: the datagrams arrive at the same instant, or the link has faults that
//     remember earlier datagrams (Burst, Exact, Script, Rate).
//   - A timer of a host expires at the very instant at which a datagram arrives there. A link
//     takes [LinkTime] and whole microseconds for its faults, so no arrival meets a timer of a
//     round time. It may meet a timer that another arrival has set. With [Config.Tick], every
//     arrival is at a round time; let timers expire between multiples of the Tick.
//   - A goroutine changes the network at the instant at which a datagram passes there.
//
// Goroutines of different hosts may act at the same instant. Only the order of their events in
// [Net.Trace], or in a tap of several pipes, is undefined then.
//
// # Seeds and versions
//
// Within one version of this module, a seed gives the same run on every system. A new version
// may change the random decisions of a seed; the changelog says so. A test that must hold with
// every version should not assert a number that follows from the seed. It can choose the lost
// datagrams with a [Script], fix their number with [Exact], or assert a range.
package udptest
