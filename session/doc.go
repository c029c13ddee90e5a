// Package session gives each peer of a UDP socket a conversation of its own.
//
// There are two forms. [Listen] returns a [net.Listener], whose Accept returns a [net.Conn] for
// each address that sends to the socket. It is for programs with a goroutine per peer, and for
// libraries that expect package net.
//
//	ln, err := session.Listen(ctx, "udp", ":7007")
//	...
//	for {
//		c, err := ln.Accept()
//		if err != nil {
//			return err
//		}
//		go serve(c)
//	}
//
// [Handler] does the same with callbacks, and has no goroutine per peer. It is a [udp.Handler]
// for any socket:
//
//	m := session.Handler(session.Config{}, func(p *session.Peer) udp.Handler {
//		return &player{peer: p}
//	})
//	c, err := udp.Listen(ctx, "udp", ":7007", m)
//
// The address and port of its peer identify a session. A session sends from the address of this
// host that the peer last sent to.
//
// # The end of a session
//
// UDP has no message that ends a conversation. A session ends when the program closes it, when
// the peer was silent for Config.IdleTimeout, when a new peer needs its place, or when the socket
// closes. The next datagram from the same address begins a new session. One timer per socket
// serves all its sessions.
//
// Closing a Listener ends the sessions that wait for Accept. Accepted sessions continue, and the
// socket closes with the last of them: see [Listener.Close].
//
// # Forged addresses
//
// Anybody can send datagrams with forged source addresses, and each address begins a session.
// Config.MaxSessions bounds their number, and with it the memory: a session takes about 0.6 KiB,
// plus the datagrams that wait to be read. A session is unconfirmed until its peer has sent
// another datagram after the program sent one. Only unconfirmed sessions are evicted.
// Config.Accept can reject a datagram before anything is allocated for it. Allow of a
// limit.Limiter is such a filter.
//
// An ICMP error fails one Read and ends no session, because ICMP errors can be forged too.
package session
