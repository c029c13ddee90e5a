// Package udp is a toolkit for UDP services. One goroutine reads each socket and
// feeds a [Handler]; nothing is lost in silence, and no stray error stops the
// reading.
//
// # A tour
//
// [Listen] binds a socket and [Dial] makes one with a peer; both take a
// [Handler], which hears of everything that happens on the socket: Started,
// Received, Refused, Stopped. [HandlerFunc] makes one of a function,
// [BaseHandler] is for embedding, and a [Queue] is one that puts datagrams into
// a channel, which is the ordinary way to consume them; [Workers] spreads them over
// goroutines. This is a whole echo server:
//
//	c, err := udp.Listen(ctx, "udp", ":7", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
//		d.Reply(d.Data)
//	}))
//
// Take a Queue to consume in goroutines of your own, beside timers and other
// channels, and Workers when a Handler takes long and the order of each sender must
// hold. Several goroutines may share a Queue, where the order is lost:
//
//	for range 4 {
//		go func() {
//			for d := range q.Datagrams() { ... }
//		}()
//	}
//
// A [Datagram] knows where it came from and which address of this host it was
// sent to; [Datagram.Reply] answers from that one, also on a socket that is bound
// to every address. [Conn.SendTo] sends to an address, [Conn.SendBatch] many
// datagrams at once.
//
// A [ConnectedConn] has one peer. It hears when the peer's host says that nobody
// listens there: Handler.Refused gets a [Refusal] for each such ICMP message, the
// socket goes on, and a send is never charged with an older one's error.
// [Conn.Connect], [ConnectedConn.Reconnect] and [ConnectedConn.Disconnect] change
// the peer and keep the port.
//
// A [MulticastConn], made by [ListenMulticast], joins IPv4 and IPv6 groups, for
// all sources or single ones. Memberships follow the interfaces as these appear and
// disappear; [MulticastConn.Memberships] returns their state, and
// [Config.OnMembership] is called when it changes. [MulticastConn.SendGroup] sends
// on several interfaces.
//
// [Resolve] and [ResolveAsync] turn names into addresses. The sending methods
// take addresses only, so no send ever waits for a name server.
//
// [Config] has the knobs: its zero value serves, and its methods are the
// functions above. [Conn.Stats] counts, [Conn.Info] says what the system granted.
// [Conn.Close] stops now; [Conn.Shutdown] first handles what has arrived. Package
// udptest has a simulated network for tests.
//
// # Concurrency
//
// The callbacks of one socket never run at the same time. Started runs on the
// goroutine that called Listen, before that returns; the others run on the
// socket's own, and while one runs nothing is read. Stopped is the last, exactly
// once. Callbacks of different sockets do run at the same time, also when they
// share a Handler.
//
// All methods of a Conn may be called from any goroutine and from inside
// callbacks: Close inside Received does not deadlock, and from elsewhere it
// returns after the last callback has. No goroutine outlives its socket.
//
// # Ownership
//
// In Received, [Datagram.Data] is valid until Received returns; Retain keeps it
// longer, Clone copies it. A datagram out of a Queue belongs to who received it:
// Release gives its buffer back for reuse, and without it the garbage collector
// takes it. Built with the race detector, released buffers are overwritten, so
// that a use after that shows. What is sent is only read, and only until the
// call returns.
//
// # Errors
//
// Methods return [*net.OpError], as package net does. Inside are [net.ErrClosed],
// [os.ErrDeadlineExceeded], [ErrTooLarge] with a [*SizeError], [ErrFamily],
// [errors.ErrUnsupported] for what a system can't do, or the system's errno: all
// are found by [errors.Is] and [errors.As].
//
// What happens while reading is sorted: only a closed socket ends the goroutine.
// What belongs to one datagram is told to the Handler. Anything else is counted,
// logged to [Config.Logger], and reading goes on after a pause that grows. A panic
// in a callback is recovered, counted and, if Config.Logger is set, logged with its stack.
//
// # Accounting
//
// Every datagram that was read has been handled or is counted in [Drops] under
// the reason why not: at rest, Stats.Received = Stats.Handled +
// Stats.Dropped.Total(). What the kernel dropped before is counted beside it, in
// Stats.KernelDrops, where the system says it.
//
// # Platforms
//
// The package builds for every system that Go has; a name means the same on all.
// What a system can't do is an error wrapping [errors.ErrUnsupported], or said by
// [Info]; no Listen fails for the lack of a fast path. Linux has the most: full
// refusals, kernel drop counts, timestamps, ECN. The README has a table.
package udp
