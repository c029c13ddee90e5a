// Package udptest has a whole network in a test: hosts, links and routers that
// live in the memory of one process and lose, delay, double, reorder and refuse
// datagrams as they are told to. What is written against package udp runs on it
// unchanged, with [Host.Network] in udp.Config.Network.
//
//	n := udptest.NewNet(t, udptest.Config{Seed: 1})
//	a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
//	a.Out().Set(udptest.Faults{Loss: 0.1, Latency: 30 * time.Millisecond})
//	server, err := udp.Config{Network: b.Network()}.Listen(ctx, "udp", ":53", handler)
//
// # Time
//
// There is no clock to pass around: everything uses package time, and all waiting
// is durably blocking in the sense of [testing/synctest]. Inside a bubble time is
// virtual, so an hour's traffic takes milliseconds; outside everything works the
// same in real time. A Net belongs to the bubble that it was made in.
//
// # Repeating a run
//
// What the faults of a link do to a datagram depends on [Config.Seed], the link,
// the sending socket and how many datagrams that socket has sent before, and on
// nothing else; datagrams that arrive at the same instant are handed on by sender,
// and those of one sender in the order of sending. So, in a bubble, a run repeats
// byte for byte, however its goroutines are scheduled and on however many
// processors, as long as no host races with itself. What can make a difference:
//
//   - Goroutines of one host that send at the same instant by one socket, or that
//     open sockets at the same instant.
//   - By sockets of their own they do as long as the order on their link matters:
//     where datagrams arrive at the same instant, and to faults that remember what
//     has passed before (bursts, exact loss, rates, scripts).
//   - A timer of a host that fires at the very instant a datagram arrives there.
//     Each link takes 1001 ns beside its faults, and those take whole microseconds,
//     so no arrival meets a timer of a round time; one that another arrival has set
//     may. With [Config.Tick] every arrival is at a round time: let timers fire
//     between its multiples.
//   - A goroutine that changes the network at an instant when something passes it.
//
// Goroutines of different hosts may do what they want at the same instant. Only
// the order in which [Net.Trace], or a tap on several pipes, tells what they did
// then is not determined.
//
// For a handler alone, without any network, see [Recorder]; for the promises that
// every network keeps, the kernel's too, see [TestNetwork].
package udptest
