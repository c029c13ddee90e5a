package udp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/udpkit/udp/internal/life"
	"github.com/udpkit/udp/internal/mcast"
	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
	"github.com/udpkit/udp/internal/sys"
)

// Conn is a UDP socket with a goroutine that reads it and feeds its [Handler]. Its
// methods may be called from any goroutine and inside callbacks, and do the same there.
type Conn struct {
	// Locks, in the order in which they are taken: peer.changing, out.sending, out.mu,
	// then those of internal packages. events.mu, log.mu and the mutexes of Queue and
	// Workers are leaves. No lock is held while user code runs, except in Config.Trace.

	// Set before anybody else has the Conn.
	sock     socket.Socket
	cfg      Config
	network  string
	family   socket.Family
	consumer consumer
	groups   groups
	group    *Group      // nil unless made by ListenGroup
	pulled   *PacketConn // whose socket it is, instead of a goroutine's; nil: nobody's

	// Used by any goroutine; each has locks of its own, or none but atomics.
	life   life.Life
	peer   peer
	out    send.Outbox
	events events
	stats  stats.Counters
	log    limitedLog

	reader reader // used by the socket's goroutine only
}

// groups are the memberships of a socket. Both are set before it is used.
type groups struct {
	*mcast.Manager      // nil unless made by ListenMulticast
	check          bool // destinations: it has memberships, or the system lets in what others have joined
}

// consumer is the Handler of a socket in the form that the reader uses.
type consumer struct {
	handler  Handler
	function HandlerFunc // one of these, if the handler is of that type
	queue    *Queue
	workers  *Workers
	readDone interface{ ReadDone(*Conn) } // if the handler has that method
	work     work                         // datagrams that Workers have
}

// hasQueued reports whether datagrams wait for a consumer.
func (t *consumer) hasQueued() bool {
	switch {
	case t.queue != nil:
		return len(t.queue.fifo.ch) > 0
	case t.workers != nil:
		return t.work.left.Load() > 1 // one of them may be the caller's
	}
	return false
}

// peer is what the socket is associated with.
type peer struct {
	changing sync.Mutex                     // one change at a time
	current  atomic.Pointer[netip.AddrPort] // nil: unconnected
	next     atomic.Pointer[netip.AddrPort] // while it changes
	asking   sync.Mutex                     // guards changes of local
	local    atomic.Pointer[netip.AddrPort] // the socket's own address; nil: to be asked for
	rebinds  atomic.Uint64                  // of the socket when local was asked for
	source   *sourceFollower                // guarded by changing; nil: none is needed
}

// isNext reports whether the socket is being connected to the sender: the kernel
// lets it in before Reconnect has returned.
func (p *peer) isNext(from netip.AddrPort) bool {
	next := p.next.Load()
	return next != nil && *next == from
}

// Listen binds a UDP socket and starts its goroutine, which feeds h. It is
// Config{}.Listen.
func Listen(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	return Config{}.Listen(ctx, network, address, h)
}

// Listen binds a UDP socket and starts its goroutine, which feeds h. Callbacks may run
// before Listen returns, so they should use the Conn that they get as an argument.
//
// The network is "udp", "udp4" or "udp6", and the address "host:port" as in
// [net.Listen]. A host name is resolved, and Listen binds the first of its addresses
// that belongs to this host. An empty or unspecified host means every address of this
// host, of both families for "udp". Port 0 means a free port: see [Conn.LocalAddrPort].
// On a socket bound to every address, [Datagram.Reply] replies from the address that
// the datagram was sent to.
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

// Adopt makes a Conn of uc. It owns uc from then on, also when it fails: nothing else
// may read, write or close uc. When uc is connected, so is the Conn. Config.ReuseAddr,
// ReusePort, Control and Network do not apply.
//
// Groups that uc has joined stay joined, and [Conn.Multicast] joins others. Memberships
// does not return the groups of the former owner: the system does not list them.
//
// On Linux, closing the Conn restores every option that it has changed, and removes no
// filter that it has not set: whoever has another descriptor of the socket finds it as
// it was. Until then, descriptors in blocking mode are non-blocking. Options belong to
// the socket, not to a descriptor: a process that inherits a socket adopts it when its
// predecessor has closed or detached its Conn.
func (cfg Config) Adopt(uc *net.UDPConn, h Handler) (*Conn, error) {
	if uc == nil {
		return nil, opError("adopt", "udp", nil, sys.EINVAL)
	}
	addr := uc.LocalAddr()
	if err := cfg.check(h); err != nil {
		uc.Close()
		return nil, opError("adopt", "udp", addr, err)
	}
	sock, err := sys.Adopt(uc, cfg.options())
	if err != nil {
		return nil, opError("adopt", "udp", addr, err)
	}
	c := newConn(sock, cfg, "udp", h)
	c.groups.check = false // its owner may have joined some
	// A lack of netlink costs the MulticastConn only.
	if groups, err := mcast.New(cfg.source(), c.multicastConfig(netip.Addr{})); err == nil {
		c.groups.Manager = groups
	}
	if peer := sock.Peer(); peer.IsValid() {
		c.peer.current.Store(&peer)
	}
	c.start()
	return c, nil
}

// open binds without starting anything.
func (cfg Config) open(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	if err := cfg.check(h); err != nil {
		return nil, opError("listen", network, nil, err)
	}
	var c *Conn
	err := cfg.bindFirst(ctx, network, address, func(local netip.AddrPort) error {
		sock, err := cfg.source().Open(ctx, network, local, cfg.options())
		if err == nil {
			c = newConn(sock, cfg, network, h)
		}
		return err
	})
	return c, err
}

// bindFirst calls bind for the addresses of a name until one is bound that this host
// has.
func (cfg *Config) bindFirst(ctx context.Context, network, address string, bind func(local netip.AddrPort) error) error {
	return cfg.whenReady(ctx, func() error { return cfg.tryBind(ctx, network, address, bind) })
}

// tryBind is bindFirst without waiting for the network.
func (cfg *Config) tryBind(ctx context.Context, network, address string, bind func(local netip.AddrPort) error) error {
	locals, err := cfg.resolve(ctx, "listen", network, address)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return opError("listen", network, nil, err)
	}
	for _, local := range locals {
		berr := bind(local)
		if berr == nil {
			return nil
		}
		// The next one only for an address that this host has not. Behind a busy port
		// clients of the name would find another service.
		next := sys.Classify(berr) == sys.Down
		if err == nil || !next {
			err = opError("listen", network, net.UDPAddrFromAddrPort(local), berr)
		}
		if !next {
			break
		}
	}
	return err
}

func newConn(sock socket.Socket, cfg Config, network string, h Handler) *Conn {
	info := sock.Info()
	c := &Conn{
		sock: sock, cfg: cfg, network: network, family: info.Family,
		consumer: consumer{handler: h},
		events:   events{posted: make(chan struct{}, 1)},
		log:      limitedLog{to: cfg.Logger},
	}
	if cfg.Trace != nil {
		c.sock = &tracedSocket{Socket: sock, conn: c}
	}
	t := &c.consumer
	switch h := h.(type) {
	case HandlerFunc:
		t.function = h
	case *Queue:
		t.queue = h
	case *Workers:
		t.workers = h
		t.work.none = make(chan struct{}, 1)
	default:
		t.readDone, _ = h.(interface{ ReadDone(*Conn) })
	}
	c.life.Init()
	c.out.Init(send.Config{
		Socket: c.sock, Family: c.family, Life: &c.life, Stats: &c.stats, Peer: &c.peer.current,
		Broadcast: cfg.Broadcast, PeerErrors: cfg.PeerErrors, NoFragments: cfg.MTUDiscovery == MTUDiscoveryDo,
		Stranded: func(to netip.AddrPort, peer *netip.AddrPort) bool { return c.groups.Stranded(to, peer) },
		TooLarge: func(size, max, mtu int) error { return &SizeError{Size: size, Max: max, MTU: mtu} },
		Reported: c.reportedBySend, Failed: c.sendsFailed,
	})
	c.reader.conn = c
	c.groups.check = !info.MulticastFilter
	return c
}

// start runs Started and then the goroutine, which stops the socket at once when
// Started does not return: its caller has no Conn to close.
func (c *Conn) start() {
	c.followDevice()
	c.reader.err = errGoexit
	defer func() { go c.reader.run() }()
	c.guard("Started", func() { c.consumer.handler.Started(c) })
	c.reader.err = nil
}

// localAddr returns the socket's own address, which the system is asked for once.
func (c *Conn) localAddr() netip.AddrPort {
	if local := c.peer.local.Load(); local != nil {
		return *local
	}
	c.peer.asking.Lock()
	defer c.peer.asking.Unlock()
	local := c.sock.Local()
	c.peer.local.Store(&local)
	return local
}

// forgetLocal is called when it may have changed.
func (c *Conn) forgetLocal() {
	c.peer.asking.Lock()
	defer c.peer.asking.Unlock()
	c.peer.local.Store(nil)
}

// LocalAddr returns the address the socket is bound to, a [*net.UDPAddr].
func (c *Conn) LocalAddr() net.Addr {
	if !c.ok() {
		return nil
	}
	return net.UDPAddrFromAddrPort(c.LocalAddrPort())
}

// LocalAddrPort returns the address the socket is bound to. On a connected
// socket it is the one that datagrams to the peer leave from.
func (c *Conn) LocalAddrPort() netip.AddrPort {
	if !c.ok() {
		return netip.AddrPort{}
	}
	if n := c.sock.Rebinds(); n != c.peer.rebinds.Load() && !c.closed() { // the address may be another one
		c.peer.rebinds.Store(n)
		c.forgetLocal()
	}
	return c.localAddr()
}

// RemoteAddr returns the peer, a [*net.UDPAddr], or nil on an unconnected socket.
func (c *Conn) RemoteAddr() net.Addr {
	if !c.ok() {
		return nil
	}
	if p := c.peer.current.Load(); p != nil {
		return net.UDPAddrFromAddrPort(*p)
	}
	return nil
}

// String names the socket for people: its network, address and peer.
func (c *Conn) String() string {
	if !c.ok() {
		return "udp without a socket"
	}
	s := c.network + " " + c.LocalAddrPort().String()
	if p := c.peer.current.Load(); p != nil {
		s += " to " + p.String()
	}
	if c.closed() {
		s += " (closed)"
	}
	return s
}

// LogValue implements [slog.LogValuer].
func (c *Conn) LogValue() slog.Value {
	if !c.ok() {
		return slog.StringValue(c.String())
	}
	attrs := []slog.Attr{slog.String("network", c.network), slog.String("local", c.LocalAddrPort().String())}
	if p := c.peer.current.Load(); p != nil {
		attrs = append(attrs, slog.String("peer", p.String()))
	}
	if c.closed() {
		attrs = append(attrs, slog.Bool("closed", true))
	}
	return slog.GroupValue(attrs...)
}

// SyscallConn returns the raw connection, for socket options that this package
// does not have. Reading, writing and closing through it is not allowed. On a
// simulated network it fails with [errors.ErrUnsupported].
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if !c.ok() {
		return nil, errNoSocket("raw")
	}
	return c.sock.SyscallConn()
}

func (c *Conn) closed() bool { return c.life.Closed() }

// closingChan is c.life.Closing(), or nil without a Conn.
func (c *Conn) closingChan() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.life.Closing()
}
