package udp

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/goid"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// Conn is a UDP socket with a goroutine that reads it and feeds its [Handler].
// Its methods may be called from any goroutine and from inside callbacks.
type Conn struct {
	sock    socket.Socket
	handler Handler
	// function is the handler when it is a HandlerFunc.
	function HandlerFunc
	cfg      Config
	network  string
	family   socket.Family
	log      limitedLog
	stats    counters

	callback atomic.Uintptr                 // goid of the goroutine that runs callbacks
	phase    atomic.Int32                   // running … stopping
	peer     atomic.Pointer[netip.AddrPort] // nil: unconnected
	next     atomic.Pointer[netip.AddrPort] // the peer to be, while connecting
	local    atomic.Pointer[netip.AddrPort]
	rebinds  atomic.Uint64            // of the socket when local was asked for
	deadline atomic.Pointer[deadline] // of writes

	closing chan struct{} // closed when Close begins
	done    chan struct{} // closed when all is over
	end     sync.Once     // guards closing

	connecting sync.Mutex // one change of the peer at a time
	mu         sync.Mutex // guards what follows
	events     []func()   // to run on the socket's goroutine
	met        int        // of events: refusals that sends have met

	connected ConnectedConn // what Connected and Multicast return
	multicast MulticastConn
	groups    *registry // nil unless made by ListenMulticast
	// checkGroups: destinations are looked at, since this socket has groups, or the
	// system lets in what others have joined.
	checkGroups bool
	reader      reader // owned by the socket's goroutine
	work        work   // what Workers have of this socket

	// settled: what has been read is in the counters, and the reader may be in a
	// callback. Otherwise it is about to read or to end, and neither takes long.
	settled    atomic.Bool
	discarding sync.Mutex // what has been discarded is in the counters
}

// The phases of a Conn's life, in order.
const (
	running  int32 = iota
	draining       // Shutdown: take what is queued, then stop
	stopping       // Close: handle nothing more
)

// Listen binds a UDP socket and starts its goroutine, which feeds h. It is
// Config{}.Listen.
func Listen(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	return Config{}.Listen(ctx, network, address, h)
}

// Listen binds a UDP socket and starts its goroutine, which feeds h.
//
// The network is "udp", "udp4" or "udp6", and the address "host:port" as in
// [net.Listen]: a host name is resolved, and bound is the first of its addresses
// that this host has; an empty or unspecified host means
// every address of this host (of both families for "udp"), and port 0 a free
// port, which [Conn.LocalAddrPort] tells. A socket bound to every address
// replies from the one that was asked, see [Datagram.Reply].
//
// ctx bounds resolving and binding only. Errors are [*net.OpError]s.
func (cfg Config) Listen(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	c, err := cfg.open(ctx, network, address, h)
	if err != nil {
		return nil, err
	}
	c.start()
	return c, nil
}

// Adopt makes a Conn of uc, which it owns from now on, also when it fails:
// nothing else may read, write or close it. When uc is connected, so is the
// Conn. Config.ReuseAddr, ReusePort, Control and Network do not apply.
//
// Closing it restores, on Linux, every option that the Conn has changed, so that
// whoever has another descriptor of the socket finds it as it was, and takes no
// filter away. Descriptors in blocking mode become non-blocking meanwhile.
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
	c.checkGroups = false // its owner may have joined some
	if peer := sock.Peer(); peer.IsValid() {
		c.peer.Store(&peer)
	}
	c.start()
	return c, nil
}

// open binds without starting anything.
func (cfg Config) open(ctx context.Context, network, address string, h Handler) (*Conn, error) {
	if err := cfg.check(h); err != nil {
		return nil, opError("listen", network, nil, err)
	}
	locals, err := cfg.resolve(ctx, "listen", network, address)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, opError("listen", network, nil, err)
	}
	for _, local := range locals {
		sock, oerr := cfg.source().Open(ctx, network, local, cfg.options())
		if oerr == nil {
			return newConn(sock, cfg, network, h), nil
		}
		// The next one only for an address that this host has not. Behind a busy port it
		// would be another service's than clients of the name find.
		next := sys.Classify(oerr) == sys.Down
		if err == nil || !next {
			err = opError("listen", network, net.UDPAddrFromAddrPort(local), oerr)
		}
		if !next {
			break
		}
	}
	return nil, err
}

func newConn(sock socket.Socket, cfg Config, network string, h Handler) *Conn {
	c := &Conn{
		sock: sock, handler: h, cfg: cfg, network: network,
		family:  sock.Info().Family,
		log:     limitedLog{to: cfg.Logger},
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	c.function, _ = h.(HandlerFunc)
	c.reader.taken = true
	c.deadline.Store(&deadline{changed: make(chan struct{})})
	c.connected.Conn, c.multicast.Conn, c.reader.Conn = c, c, c
	c.checkGroups = !sock.Info().MulticastFilter
	c.learnLocal()
	return c
}

// start runs Started and then the goroutine, which stops the socket at once when
// Started does not return: its caller has no Conn to close.
func (c *Conn) start() {
	c.reader.err = errGoexit
	defer func() {
		c.callback.Store(0)
		go c.reader.run()
	}()
	c.callback.Store(goid.ID())
	c.guard("Started", func() { c.handler.Started(c) })
	c.reader.err = nil
}

func (c *Conn) learnLocal() {
	local := c.sock.Local()
	c.local.Store(&local)
}

// LocalAddr returns the address the socket is bound to, a [*net.UDPAddr].
func (c *Conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.LocalAddrPort()) }

// LocalAddrPort returns the address the socket is bound to. On a connected
// socket it is the one that datagrams to the peer leave from.
func (c *Conn) LocalAddrPort() netip.AddrPort {
	if n := c.sock.Rebinds(); n != c.rebinds.Load() && !c.closed() { // the address may be another one
		c.rebinds.Store(n)
		c.learnLocal()
	}
	return *c.local.Load()
}

// String names the socket for people: its network, address and peer.
func (c *Conn) String() string {
	s := c.network + " " + c.LocalAddrPort().String()
	if p := c.peer.Load(); p != nil {
		s += " to " + p.String()
	}
	if c.closed() {
		s += " (closed)"
	}
	return s
}

// SyscallConn returns the raw connection, for socket options that this package
// does not have. Reading, writing and closing through it is not allowed. On a
// simulated network it fails with [errors.ErrUnsupported].
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.sock.SyscallConn() }

// Close closes the socket now: what it has read and not handled, and what waits
// in the kernel, is counted in [Drops.Closed] (what waits in the kernel not on
// Windows and Plan 9). It returns when the last callback has, except from inside a
// callback, where it returns at once and Stopped follows; likewise from a callback
// of another socket when one of this socket's waits for that one to close. It may
// be called again, and then waits the same way. Its error is always nil.
func (c *Conn) Close() error {
	c.flushFirst()
	c.stop()
	c.wait(nil)
	return nil
}

// stop makes the goroutine end as soon as it can.
func (c *Conn) stop() {
	c.phase.Store(stopping)
	c.end.Do(func() { close(c.closing) })
	c.endSends()
	c.sock.Wake()
}

// Shutdown handles every datagram that the kernel has queued when it is called,
// lets the handler finish, and closes the socket; what arrives meanwhile is
// refused where the system can do that (Linux: counted in Stats.KernelDrops).
// Until the last datagram is handled the socket still sends.
//
// When ctx is done first the socket is closed as Close does it, without waiting
// for a callback that is running, and the error wraps ctx's and is a
// [*ShutdownError], which says how many datagrams were left. From inside a
// callback Shutdown returns at once, where Close does, and ctx does not count.
//
// With a [Queue] a datagram is handled when it lies in the channel, with
// [Workers] when the Handler behind them has returned.
func (c *Conn) Shutdown(ctx context.Context) error {
	if c.phase.CompareAndSwap(running, draining) {
		c.sock.StopIntake() // the reader may be in a callback
	}
	c.sock.Wake()
	if !c.wait(ctx.Done()) {
		return nil
	}
	select {
	case <-c.done: // whatever became of ctx
		return nil
	default:
	}
	c.stop()
	left := c.left()
	return c.opError("shutdown", netip.AddrPort{}, &ShutdownError{Left: left, Cause: context.Cause(ctx)})
}

// left counts what was not handled when the socket was stopped, also while a
// callback goes on for ever. (Of a train Handled is counted at its end.)
func (c *Conn) left() int {
	for wait := time.Microsecond; !c.settled.Load(); wait = min(2*wait, time.Millisecond) {
		select {
		case <-c.done:
		case <-time.After(wait):
			continue
		}
		break
	}
	c.discard()
	s := c.Stats()
	otherwise := s.Dropped.Total() - s.Dropped.Closed
	return int(s.Received - s.Handled - otherwise)
}

// discard drops what waits in the kernel and counts it.
func (c *Conn) discard() {
	c.discarding.Lock()
	defer c.discarding.Unlock()
	n := uint64(c.sock.Discard())
	c.stats.received.Add(n)
	c.stats.dropped[dropClosed].Add(n)
}

// Done is closed when the socket is closed and the last callback has returned.
func (c *Conn) Done() <-chan struct{} { return c.done }

func (c *Conn) closed() bool { return c.phase.Load() == stopping }
