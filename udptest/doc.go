// Package udptest simulates a network for tests. Its hosts, links and routers exist in the
// memory of one process. They lose, delay, duplicate, reorder and refuse datagrams as
// configured. Code that uses package udp runs on it unchanged: pass it [Host.Config], or set
// Config.Network to [Host.Network].
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
// The network uses package time; there is no clock to pass around. In a bubble of
// [testing/synctest] time is virtual, so an hour of traffic takes milliseconds, and
// [Net.Settle] waits for the datagrams in flight. Goroutines that wait for the network are
// durably blocked. Outside a bubble everything works the same in real time. A Net belongs to
// the bubble in which it was created.
//
// # Coalesced packets
//
// Sockets read as with UDP_GRO. Up to 64 consecutive datagrams of one sender and one size that
// arrive at the same instant are one read and share a buffer. One datagram in eight, chosen by
// the seed, begins a new read, so that programs meet reads of all sizes. udp.Config.NoOffload
// turns coalescing off.
//
// # Repeating a run
//
// The faults of a datagram depend on [Config.Seed], the link, the sending socket, and the
// number of datagrams that the socket has sent before, and on nothing else. Datagrams that
// arrive at the same instant are delivered by sender, and those of one sender in the order of
// sending. So in a bubble a run repeats byte for byte, on any number of processors, unless the
// goroutines of one host race with each other or with the network. These races can change a
// run:
//
//   - Goroutines of one host send at the same instant by one socket, or open sockets at the same
//     instant.
//   - Goroutines of one host send at the same instant by several sockets, and the order on the
//     link matters: the datagrams arrive at the same instant, or the link has faults that
//     remember earlier datagrams (Burst, Exact, Script, Rate).
//   - A timer of a host expires at the instant at which a datagram arrives there. An arrival
//     never meets a timer that expires at a round time, because a link takes [LinkTime] plus
//     whole microseconds. It can meet a timer that was set when another datagram arrived. With
//     [Config.Tick], every arrival is at a multiple of the Tick: let timers expire between
//     them.
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
