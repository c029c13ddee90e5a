// Package udp is a toolkit for UDP services. One goroutine reads each socket and
// feeds a [Handler] or a channel. It replaces the read loop around [net.UDPConn]: no
// datagram disappears without being counted, and no stray error stops the reader.
//
// # Overview
//
// [Listen] binds a socket and [Dial] connects one to a peer. Both take a [Handler],
// whose methods are called for everything that happens on the socket. [HandlerFunc]
// turns a function into a Handler. This is a whole echo server:
//
//	c, err := udp.Listen(ctx, "udp", ":7", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
//		d.Reply(d.Data)
//	}))
//
// A [Queue] is a Handler that puts datagrams into a channel. Most programs use one:
//
//	for {
//		d, err := q.Receive(ctx)
//		...
//		d.Release()
//	}
//
// [Workers] call a Handler on several goroutines and keep the order of each sender.
//
// A [Datagram] knows its sender and the address of this host that it was sent to.
// [Datagram.Reply] replies from that address, even if the socket is bound to every
// address. [Conn.SendTo] and [Conn.SendBatch] send at once. Reply and [Conn.Enqueue]
// copy the payload into the socket's outbox. The outbox is sent as one batch, which
// saves system calls.
//
// A [ConnectedConn] has one peer. If the peer's host reports that nobody listens
// there, Handler.Refused gets a [Refusal] and the socket stays open. An ICMP error
// about an older datagram never fails a send. [Conn.Connect],
// [ConnectedConn.Reconnect] and [ConnectedConn.Disconnect] change the peer and keep
// the port.
//
// [ListenMulticast] returns a [MulticastConn]. It joins IPv4 and IPv6 groups, for all
// sources or for single ones, on the interfaces of the host and on those that appear
// later. [MulticastConn.Memberships] returns the state of the memberships, and
// [Config.OnMembership] is called when it changes. [MulticastConn.SendGroup] sends on
// several interfaces.
//
// A [PacketConn] is for code that expects package net. It has the methods of
// [net.UDPConn]. It has no goroutine: the caller of a Read method reads the socket.
// [Config.ListenPacket] and [Config.DialContext] make one.
//
// [Resolve] and [ResolveAsync] turn names into addresses. Sending methods take
// addresses only, so no send ever waits for a name server.
//
// [Config] has the options. Its zero value is useful. The functions above are also
// methods of Config, which use its options. [Conn.Stats] returns the counters, and
// [Conn.Info] the features and buffer sizes that the system granted. [Conn.Run] serves
// until a context is done and then shuts the socket down within a grace period.
// Package udptest has a simulated network for tests.
//
// # Concurrency
//
// The callbacks of one socket never run at the same time. Started runs on the
// goroutine that called Listen, before Listen returns. The others run on the socket's
// own goroutine. While one of them runs, nothing is read. Stopped is the last, and is
// called exactly once. Callbacks of different sockets can run at the same time, even
// if the sockets share a Handler. With Workers, Received and Refused run on the
// workers' goroutines.
//
// Every method may be called from any goroutine and does the same on each. Shutdown,
// Run and Detach wait for callbacks, so a callback must not call them, and neither
// must code that holds a lock which a callback needs. All other methods may be called
// there. [Conn.Close] starts closing and returns. The channel [Conn.Done] is closed
// after the last callback. While replies and enqueued messages wait, a second goroutine
// of the socket sends them. No goroutine outlives its socket.
//
// The datagrams that one goroutine sends on a socket leave in the order of its calls.
//
// # Ownership
//
// In Received, [Datagram.Data] is valid until Received returns. Retain keeps it
// longer, Clone copies it. A datagram from a Queue belongs to its consumer: Release
// gives the buffer back for reuse; without Release the garbage collector frees it.
// Releasing a datagram twice panics. With the race detector, released buffers are
// overwritten, which makes a later use visible. Sending methods only read the payload,
// and only until they return.
//
// # Errors
//
// Methods return [*net.OpError], as package net does. It wraps [net.ErrClosed],
// [os.ErrDeadlineExceeded], [ErrTooLarge] with a [*SizeError], [ErrFamily],
// [errors.ErrUnsupported] for what a system cannot do, or the system's errno.
// [errors.Is] and [errors.As] find all of them. SendBatch returns a [*BatchError] that
// holds one of these for each message that was not sent.
//
// The reader ends when the socket is closed, when the system has destroyed the socket
// and it cannot be restored, or when a callback calls [runtime.Goexit]. An error about
// one datagram is passed to the Handler or to [Config.OnSendError]. Any other error is
// counted and logged to [Config.Logger], and reading continues after a pause that
// grows with each further error. A panic in a callback is recovered, counted and
// logged, by default to [slog.Default].
//
// # Accounting
//
// A socket counts each datagram that it read, as Handled or by the reason in [Drops].
// While no callback runs, Stats.Received = Stats.Handled + Stats.Dropped.Total().
// Stats.KernelDrops counts the datagrams that the kernel dropped before they could be
// read, where the system reports them. [Queue.Stats] and [Workers.Stats] count the
// datagrams that a Handler passes on to a Queue or to Workers.
//
// # Platforms
//
// The package builds for every system that Go supports, and a name means the same on
// all of them. Where a system cannot do something, the call returns an error wrapping
// [errors.ErrUnsupported], or a field of [Info] says so. Listen never fails because a
// fast path is missing. Linux supports the most: complete ICMP errors, kernel drop
// counts, timestamps, ECN. docs/platforms.md has a table.
package udp
