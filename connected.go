package udp

import (
	"context"
	"net"
	"net/netip"
	"os"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// ConnectedConn is a [Conn] with a peer. It sends to the peer only. Datagrams from
// others are dropped and counted in [Drops.Stranger]. ICMP errors about undelivered
// datagrams reach [Handler.Refused].
//
// It is a view of the socket of its Conn: closing either closes the socket. After
// Disconnect its Send fails with ENOTCONN, until the socket is connected again.
type ConnectedConn struct{ *Conn }

// Dial makes a socket with a free port, connects it and starts its goroutine,
// which feeds h. It is Config{}.Dial.
func Dial(ctx context.Context, network, address string, h Handler) (*ConnectedConn, error) {
	return Config{}.Dial(ctx, network, address, h)
}

// Dial makes a socket with a free port, connects it to the first address of the host
// that there is a route to, and starts its goroutine, which feeds h. A success says
// nothing about whether anybody listens there.
//
// The network is "udp", "udp4" or "udp6"; the address is "host:port", where
// host may be a name and port the name of a service. ctx bounds resolving, and
// waiting for a route with [Config.WaitForNetwork]. Errors are [*net.OpError]s. [Config.LocalAddr] dials from a certain address or port.
func (cfg Config) Dial(ctx context.Context, network, address string, h Handler) (*ConnectedConn, error) {
	c, err := cfg.dialAny(ctx, network, address, h)
	if err != nil {
		return nil, err
	}
	c.start()
	return &ConnectedConn{c}, nil
}

// dialAny is Dial without starting anything.
func (cfg Config) dialAny(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	if err := cfg.check(h); err != nil {
		return nil, opError("dial", network, nil, err)
	}
	var c *Conn
	err := cfg.whenReady(ctx, func() (err error) {
		c, err = cfg.tryDial(ctx, network, address, h)
		return err
	})
	return c, err
}

// tryDial is dialAny without waiting for the network.
func (cfg Config) tryDial(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	peers, err := cfg.resolve(ctx, "dial", network, address)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, opError("dial", network, nil, err)
	}
	var first error
	for _, peer := range peers {
		c, err := cfg.dial(ctx, peer, h)
		if err == nil {
			c.network = network
			return c, nil
		}
		if first == nil {
			first = opError("dial", network, net.UDPAddrFromAddrPort(peer), err)
		}
	}
	return nil, first
}

func (cfg Config) dial(ctx context.Context, peer netip.AddrPort, h Handler) (*Conn, error) {
	// An empty host means this one, as in package net.
	if a := peer.Addr(); !a.IsValid() {
		peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), peer.Port())
	} else if a.IsUnspecified() {
		loopback := netip.IPv6Loopback()
		if a.Is4() {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		peer = netip.AddrPortFrom(loopback, peer.Port())
	}
	network := "udp6"
	if peer.Addr().Is4() {
		network = "udp4"
	}
	local, err := cfg.localFor(peer.Addr())
	if err != nil {
		return nil, err
	}
	sock, err := cfg.source().Open(ctx, network, local, cfg.options())
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

// Connect gives the socket a peer; it keeps its port and its Handler. Datagrams of
// others that wait in the kernel are dropped. If Connect fails, the socket is as
// before. If the socket has a peer, the error is EISCONN: see
// [ConnectedConn.Reconnect].
//
// A [MulticastConn] keeps its memberships, also in Reconnect. But on Linux a connected
// socket has one local address: it receives datagrams to its groups only after
// Disconnect, unless it is bound to the group.
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

// Send sends b to the peer. It is [Conn.SendTo] otherwise; a datagram that the
// peer's host refuses is reported to [Handler.Refused], not here.
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

// RemoteAddrPort returns the peer, and the zero AddrPort after Disconnect.
func (c *ConnectedConn) RemoteAddrPort() netip.AddrPort {
	if !c.ok() {
		return netip.AddrPort{}
	}
	return c.peer.Addr()
}

// Reconnect replaces the peer; the socket keeps its port, its Handler and its
// memberships, and sends from the address that fits the new peer. If Reconnect fails,
// the old peer stays. If the socket cannot be connected to that either, the next send
// tries again. Datagrams of the old peer that wait in the kernel are dropped: their
// source is unexpected.
//
// Errors: ENOTCONN without a peer, [ErrFamily], [net.ErrClosed], and the system's
// own, such as ENETUNREACH.
func (c *ConnectedConn) Reconnect(peer netip.AddrPort) error {
	if !c.ok() {
		return errNoSocket("connect")
	}
	return c.opError("connect", peer, c.peer.Reconnect(peer))
}

// Disconnect takes the peer away: the socket sends to and receives from
// everybody again. It keeps its port and its Handler.
//
// On Linux (6.18 still), sockets of IPv6 and of both families forget only the peer's
// port. Over IPv6 they still receive from the last peer's address only, until they are
// connected again. Where that matters, Listen again. (__udp_disconnect in
// net/ipv4/udp.c leaves sk_v6_daddr as it is, and nothing else clears it.)
//
// Errors: ENOTCONN without a peer, [net.ErrClosed], and the system's own, after which
// the peer stays.
func (c *ConnectedConn) Disconnect() (*Conn, error) {
	if !c.ok() {
		return nil, errNoSocket("disconnect")
	}
	if err := c.peer.Disconnect(); err != nil {
		return nil, c.opError("disconnect", netip.AddrPort{}, err)
	}
	return c.Conn, nil
}
