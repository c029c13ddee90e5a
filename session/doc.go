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
// UDP itself does not end a conversation. So a session ends when its program closes it, when the
// peer was silent for Config.IdleTimeout, when a new peer needs its place, or when the socket
// closes. One timer per socket serves all its sessions. The next datagram of the same address
// begins a new session.
//
// Closing a Listener ends the sessions that nobody has accepted yet. Accepted ones go on, and the
// socket closes with the last of them: see [Listener.Close].
//
// # Forged addresses
//
// Anybody can send datagrams from addresses that are not theirs, and each begins a session.
// Config bounds how many there are. A session is confirmed when its peer has sent something after
// something was sent to it. A confirmed session is never evicted. Config.Accept decides about a
// datagram before anything is allocated for it; package limit has a filter that fits. MaxSessions
// bounds the memory: a session takes about 0.6 KiB, and the memory of what waits to be read.
//
// An ICMP error fails one Read and ends no session: ICMP is not authenticated either.
package session
