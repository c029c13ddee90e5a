package udp

import (
	"context"
	"net"
	"net/netip"

	"github.com/udpkit/udp/internal/ifmon"
	"github.com/udpkit/udp/internal/mcast"
	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// Listen binds a UDP socket and starts its goroutine, which calls h. It is
// Config{}.Listen.
func Listen(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	return Config{}.Listen(ctx, network, address, h)
}

// Listen binds a UDP socket and starts its goroutine, which calls h. Callbacks may run
// before Listen returns, so they should use the Conn that they get as an argument.
//
// The network is "udp", "udp4" or "udp6", and the address "host:port" as in
// [net.Listen]. For a host name, Listen binds the first of its addresses that belongs
// to this host. An empty or unspecified host means all addresses of this host, of both
// families for "udp". Port 0 means a free port: see [Conn.LocalAddrPort]. On a socket
// bound to every address, [Datagram.Reply] replies from the address that the datagram
// was sent to.
//
// ctx bounds resolving and binding, and waiting with [Config.WaitForNetwork]. Errors
// are [*net.OpError]s.
func (cfg Config) Listen(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	c, err := cfg.open(ctx, network, address, h)
	if err != nil {
		return nil, err
	}
	c.start()
	return c, nil
}

// Adopt makes a Conn of uc. It takes ownership of uc, even if it fails: nothing else
// may read, write or close uc. If uc is connected, so is the Conn. Config.ReuseAddr,
// ReusePort, Control and Network do not apply.
//
// Groups that uc has joined stay joined, and [Conn.Multicast] can join others.
// Memberships does not return the former owner's groups, because the system does not
// list them.
//
// On Linux, closing the Conn restores every option that it changed, for holders of
// other descriptors of the socket. Until then, the socket is non-blocking for all of
// them. Options belong to the socket, not to a descriptor: so a process that inherits
// a socket must adopt it only after its predecessor has closed or detached its Conn. And
// Shutdown and Close do not stop an adopted socket from receiving. What arrives while it
// closes is lost uncounted, if there is no other descriptor.
func (cfg Config) Adopt(uc *net.UDPConn, h Handler) (*Conn, error) {
	c, peer, err := cfg.adopt(uc, h)
	if err != nil {
		return nil, err
	}
	c.groups.check = false // the former owner may have joined some
	// Without netlink only the MulticastConn is lost.
	if groups, err := mcast.New(cfg.source(), c.multicastConfig(netip.Addr{})); err == nil {
		c.groups.Manager = groups
	}
	c.peer.Adopt(peer)
	c.start()
	return c, nil
}

// adopt is Adopt without starting anything. The peer that uc has is not c's yet.
func (cfg Config) adopt(uc *net.UDPConn, h Handler) (c *Conn, peer netip.AddrPort, err error) {
	if uc == nil {
		return nil, peer, opError("adopt", "udp", nil, sys.EINVAL)
	}
	addr := uc.LocalAddr()
	if err := cfg.check(h); err != nil {
		uc.Close()
		return nil, peer, opError("adopt", "udp", addr, err)
	}
	o := cfg.options()
	_, o.Pulled = cfg.Network.(pulledNetwork)
	sock, err := sys.Adopt(uc, o)
	if err != nil {
		return nil, peer, opError("adopt", "udp", addr, err)
	}
	return newConn(sock, cfg, "udp", h), sock.Peer(), nil
}

// open binds without starting anything.
func (cfg Config) open(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	if err := cfg.check(h); err != nil {
		return nil, opError("listen", network, nil, err)
	}
	var c *Conn
	err := cfg.withAddress(ctx, "listen", network, address, notLocal, func(local netip.AddrPort) error {
		sock, err := cfg.source().Open(ctx, network, local, cfg.options())
		if err == nil {
			c = newConn(sock, cfg, network, h)
		}
		return err
	})
	return c, err
}

// notLocal reports whether bind failed because this host does not have the address. A port
// in use is an error, because clients of the name would reach another service at the next
// address.
func notLocal(err error) bool { return sys.Classify(err) == sys.Down }

// withAddress calls open for the addresses of a name until it succeeds, or fails with an
// error after which the next address is not to be tried. With Config.WaitForNetwork it
// begins again while the host has no network for any of them.
func (cfg *Config) withAddress(ctx context.Context, op, network, address string, tryNext func(error) bool, open func(netip.AddrPort) error) error {
	attempt := func() error {
		addrs, err := cfg.resolve(ctx, op, network, address)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return opError(op, network, nil, err)
		}
		for _, addr := range addrs {
			failed := open(addr)
			if failed == nil {
				return nil
			}
			last := !tryNext(failed)
			if err == nil || last {
				err = opError(op, network, net.UDPAddrFromAddrPort(addr), failed)
			}
			if last {
				break
			}
		}
		return err
	}
	if cfg.WaitForNetwork {
		return ifmon.WhenReady(ctx, cfg.source(), attempt)
	}
	return attempt()
}

func newConn(sock socket.Socket, cfg Config, network string, h Handler) *Conn {
	info := sock.Info()
	c := &Conn{sock: sock, cfg: cfg, network: network}
	if cfg.Trace != nil {
		c.sock = c.tapped(sock)
	}
	c.consumer.init(h)
	c.guard.Logger, c.guard.Panics, c.guard.Socket = cfg.Logger, &c.stats.Panics, c
	c.events.Init()
	c.life.Init()
	c.out.Init(send.Config{
		Socket: c.sock, Family: info.Family, Life: &c.life, Stats: &c.stats, Peer: &c.peer.Current,
		Broadcast: cfg.Broadcast, PeerErrors: cfg.PeerErrors, NoFragments: cfg.MTUDiscovery == MTUDiscoveryDo,
		Stranded: func(to netip.AddrPort, peer *netip.AddrPort) bool { return c.groups.Stranded(to, peer) },
		TooLarge: func(size, max, mtu int) error { return &SizeError{Size: size, Max: max, MTU: mtu} },
		Reported: c.postRefusal, Failed: c.sendsFailed,
	})
	c.peer.Init(&c.out, cfg.onKernel())
	c.reader.conn = c
	c.groups.check = !info.MulticastFilter
	return c
}

// start runs Started and then the goroutine. If Started does not return, the goroutine
// stops the socket at once, because the caller has no Conn to close.
func (c *Conn) start() {
	c.peer.FollowDevice()
	c.reader.err = errGoexit
	defer func() { go c.reader.run() }()
	c.guard.Call("Started", func() { c.consumer.handler.Started(c) })
	c.reader.err = nil
}
