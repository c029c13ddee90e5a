package udp

import (
	"context"
	"net/netip"
	"os"

	"github.com/udpkit/udp/internal/packetconn"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// ConnectedConn is a [Conn] with a peer. It sends to the peer only. Datagrams from
// other sources are dropped and counted in [Drops.Stranger]. ICMP errors about its
// datagrams are passed to [Handler.Refused].
//
// It is a view of its Conn's socket: closing either closes the socket. After
// Disconnect, Send fails with ENOTCONN until the socket is connected again.
type ConnectedConn struct{ *Conn }

// Dial opens a socket on a free port, connects it and starts its goroutine, which
// calls h. It is Config{}.Dial.
func Dial(ctx context.Context, network, address string, h Handler) (*ConnectedConn, error) {
	return Config{}.Dial(ctx, network, address, h)
}

// Dial opens a socket on a free port, connects it and starts its goroutine, which
// calls h. If the host has several addresses, Dial uses the first one to which there
// is a route. Dial succeeds even if nobody listens there.
//
// The network is "udp", "udp4" or "udp6"; the address is "host:port", where host may
// be a name and port the name of a service. ctx bounds resolving, and waiting for a
// route with [Config.WaitForNetwork]. Errors are [*net.OpError]s. [Config.LocalAddr]
// chooses the socket's own address and port.
func (cfg Config) Dial(ctx context.Context, network, address string, h Handler) (*ConnectedConn, error) {
	c, err := cfg.dial(ctx, network, address, h)
	if err != nil {
		return nil, err
	}
	c.start()
	return &ConnectedConn{c}, nil
}

// dial is Dial without starting anything.
func (cfg Config) dial(ctx context.Context, network, address string, h Handler) (c *Conn, err error) {
	if err := cfg.check(h); err != nil {
		return nil, opError("dial", network, nil, err)
	}
	always := func(error) bool { return true }
	err = cfg.withAddress(ctx, "dial", network, address, always, func(peer netip.AddrPort) (err error) {
		c, err = cfg.dialAddr(ctx, network, peer, h)
		return err
	})
	return c, err
}

// dialAddr makes a socket of the family of peer.
func (cfg Config) dialAddr(ctx context.Context, network string, peer netip.AddrPort, h Handler) (*Conn, error) {
	// An empty host means this one, as in package net.
	host := packetconn.ThisHost(peer.Addr())
	if !host.IsValid() {
		host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	peer = netip.AddrPortFrom(host, peer.Port())
	family := "udp6"
	if host.Is4() {
		family = "udp4"
	}
	local, err := cfg.localFor(host)
	if err != nil {
		return nil, err
	}
	sock, err := cfg.source().Open(ctx, family, local, cfg.options())
	if err != nil {
		return nil, err
	}
	c := newConn(sock, cfg, network, h)
	if err := c.peer.Connect(peer); err != nil {
		sock.Close()
		return nil, err
	}
	return c, nil
}

// Connect connects the socket to a peer. The socket keeps its port and its Handler.
// Waiting datagrams from other sources are dropped, except those that are already in a
// [Queue] or in [Workers]. If Connect fails, the socket is unchanged. If the socket has
// a peer, the error is EISCONN: see [ConnectedConn.Reconnect].
//
// A [MulticastConn] keeps its memberships, here and in Reconnect. But on Linux a
// connected socket receives only datagrams to its own address. Unless it is bound to a
// group, it receives datagrams to its groups again after Disconnect.
func (c *Conn) Connect(peer netip.AddrPort) (*ConnectedConn, error) {
	if !c.ok() {
		return nil, errNoSocket("connect")
	}
	if err := c.peer.Connect(peer); err != nil {
		return nil, c.opError("connect", peer, err)
	}
	return &ConnectedConn{c}, nil
}

// Connected returns the socket as a [ConnectedConn], if it has a peer now. It is
// for Handlers, which get a [*Conn].
func (c *Conn) Connected() (*ConnectedConn, bool) {
	if !c.ok() || c.peer.Current.Load() == nil {
		return nil, false
	}
	return &ConnectedConn{c}, true
}

// Send sends b to the peer, like [Conn.SendTo]. If the peer's host refuses the
// datagram, [Handler.Refused] gets the ICMP error; Send does not return it.
func (c *ConnectedConn) Send(b []byte) error {
	if !c.ok() {
		return errNoSocket("send")
	}
	if c.peer.Current.Load() == nil {
		err := os.NewSyscallError("send", sys.ENOTCONN)
		c.out.CountFailure(err)
		return c.opError("send", netip.AddrPort{}, err)
	}
	return c.sendNow(&socket.Message{Data: b})
}

// Write is Send as an [io.Writer]: each call sends one datagram.
func (c *ConnectedConn) Write(b []byte) (int, error) {
	if err := c.Send(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// RemoteAddrPort returns the peer, or the zero AddrPort after Disconnect.
func (c *ConnectedConn) RemoteAddrPort() netip.AddrPort {
	if !c.ok() {
		return netip.AddrPort{}
	}
	return c.peer.Addr()
}

// Reconnect replaces the peer. The socket keeps its port, its Handler and its
// memberships. Its source address is chosen again, for the new peer. If Reconnect
// fails, the old peer remains; if reconnecting to that fails too, the next send tries
// again. Waiting datagrams of the old peer are dropped as from an unexpected source,
// except those that are already in a [Queue] or in [Workers].
//
// A datagram that is sent at the same time to the address of the old peer is sent to it, or
// fails with EISCONN. It is never sent to the new peer, unless it waits for room longer than
// Reconnect waits for it, about 50 ms.
//
// Errors: ENOTCONN without a peer, [ErrFamily], [net.ErrClosed], and the system's
// own, such as ENETUNREACH.
func (c *ConnectedConn) Reconnect(peer netip.AddrPort) error {
	if !c.ok() {
		return errNoSocket("connect")
	}
	return c.opError("connect", peer, c.peer.Reconnect(peer))
}

// Disconnect removes the peer: the socket can send to, and receive from, any address
// again. It keeps its port and its Handler.
//
// On Linux (up to 6.18 at least), an IPv6 or dual-stack socket forgets only the peer's
// port. Over IPv6 it still receives only from the last peer's address, until it is
// connected again. To receive from all, close it and Listen again. (__udp_disconnect
// in net/ipv4/udp.c does not clear sk_v6_daddr.)
//
// Errors: ENOTCONN without a peer, [net.ErrClosed], and the system's own. After an
// error the peer remains.
func (c *ConnectedConn) Disconnect() (*Conn, error) {
	if !c.ok() {
		return nil, errNoSocket("disconnect")
	}
	if err := c.peer.Disconnect(); err != nil {
		return nil, c.opError("disconnect", netip.AddrPort{}, err)
	}
	return c.Conn, nil
}
