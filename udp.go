package udp

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/events"
	"github.com/udpkit/udp/internal/guard"
	"github.com/udpkit/udp/internal/life"
	"github.com/udpkit/udp/internal/mcast"
	"github.com/udpkit/udp/internal/peer"
	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
	"github.com/udpkit/udp/internal/sys"
)

// Conn is a UDP socket with a goroutine that reads it and feeds its [Handler]. Its
// methods may be called from any goroutine and inside callbacks, and do the same there.
type Conn struct {
	// Lock order: what keeps a fifo open while a Handler passes a datagram on (see
	// internal/bounded), changes of peer, the gate of out, out.sending, out.mu (see
	// internal/send), the own address of peer, then the locks of other internal packages.
	// The locks of events, guard, Queue and Workers are leaves. No lock is held while user
	// code runs, except in Config.Trace and in Config.InterfaceFilter (see internal/mcast).

	// Constant once the Conn is published.
	sock     socket.Socket
	cfg      Config
	network  string
	consumer consumer
	groups   groups
	group    *Group      // nil unless made by ListenGroup
	pulled   *PacketConn // reads the socket instead of a goroutine; nil: none

	// Safe for any goroutine: each has its own lock or only atomics.
	life   life.Life
	peer   peer.Peer
	out    send.Outbox
	events events.Queue
	stats  stats.Counters
	guard  guard.Guard

	reader reader // used by the socket's goroutine only
}

// groups are the memberships of a socket. Both are set before it is used.
type groups struct {
	*mcast.Manager      // nil unless made by ListenMulticast or Adopt
	check          bool // check destinations: there are memberships, or the kernel does not filter groups
}

// LocalAddr returns the address the socket is bound to, a [*net.UDPAddr].
func (c *Conn) LocalAddr() net.Addr {
	if !c.ok() {
		return nil
	}
	return net.UDPAddrFromAddrPort(c.LocalAddrPort())
}

// LocalAddrPort returns the address the socket is bound to. On a connected socket that
// is the source of datagrams to the peer.
func (c *Conn) LocalAddrPort() netip.AddrPort {
	if !c.ok() {
		return netip.AddrPort{}
	}
	return c.peer.Local()
}

// RemoteAddr returns the peer, a [*net.UDPAddr], or nil on an unconnected socket.
func (c *Conn) RemoteAddr() net.Addr {
	if !c.ok() {
		return nil
	}
	if p := c.peer.Current.Load(); p != nil {
		return net.UDPAddrFromAddrPort(*p)
	}
	return nil
}

// String returns the network, address and peer of the socket, for people.
func (c *Conn) String() string {
	if !c.ok() {
		return "udp without a socket"
	}
	s := c.network + " " + c.LocalAddrPort().String()
	if p := c.peer.Current.Load(); p != nil {
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
	if p := c.peer.Current.Load(); p != nil {
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

// Close starts closing the socket and returns nil. From then on sends fail with
// [net.ErrClosed], and nothing more is received. A callback that is running finishes,
// then Stopped is called, and then Done is closed. Close may be called anywhere, even
// in callbacks and while holding locks that callbacks need, and more than once.
//
// Datagrams that were read and not handled are counted in [Drops.Closed]. So are those
// that wait in the kernel, except on Plan 9. The outbox, which Reply and
// Enqueue filled, is sent as far as the kernel has room.
func (c *Conn) Close() error {
	if !c.ok() {
		return errNoSocket("close")
	}
	if c.pulled != nil {
		_ = c.pulled.Close()
		return nil
	}
	c.stop()
	return nil
}

// stop makes the goroutine end as soon as it can.
func (c *Conn) stop() {
	c.life.Close()
	c.out.EndWaits()
	c.sock.Wake()
}

// Shutdown stops accepting datagrams, handles every one that the kernel has queued,
// closes the socket and waits for Done. Datagrams that arrive meanwhile are rejected
// where the system supports it (Linux, which counts them in Stats.KernelDrops). The
// socket can send until the last datagram is handled.
//
// If ctx is done first, Shutdown closes the socket as Close does and returns an error
// that wraps ctx's. Stats reports how many datagrams were handled. Shutdown waits for
// callbacks, so start it with go inside a callback.
//
// With [Workers], a datagram is handled when the Handler behind them has returned.
// With a [Queue], it is handled when it is in the channel: its consumer can no longer
// reply once the socket is closed. A service that must reply to every queued request
// uses a Handler or Workers.
func (c *Conn) Shutdown(ctx context.Context) error {
	if !c.ok() {
		return errNoSocket("shutdown")
	}
	if c.pulled != nil {
		return c.Close() // a PacketConn has no Handler to wait for
	}
	if c.life.Enter(life.Draining) {
		c.sock.StopIntake() // the reader may be in a callback
	}
	c.wake()
	select {
	case <-c.life.Done():
		return nil
	case <-ctx.Done():
	}
	select {
	case <-c.life.Done(): // even if ctx is done too
		return nil
	default:
	}
	c.stop()
	return c.opError("shutdown", netip.AddrPort{}, ctx.Err())
}

// Detach stops the Conn and returns its socket. The socket keeps its port, its peer,
// its memberships and the contents of its receive buffer, so another owner can
// continue without loss, as after a restart. Datagrams that were already read are
// handled first, and the options that the Conn changed are restored. Detach waits for
// Done and thus for callbacks, so start it with go inside a callback.
//
// On Linux, the receive buffer may hold coalesced packets. An owner that does not use
// UDP_GRO reads each of them as one datagram. To avoid that, set Config.NoOffload, or
// pass the socket to [Config.Adopt].
//
// The error wraps [net.ErrClosed] if the socket is closed, and [errors.ErrUnsupported]
// on a simulated network and on systems that cannot duplicate a descriptor (Plan 9);
// then the socket continues as before. If the process has no descriptor left, the
// error says so, and the socket is closed as in Close.
func (c *Conn) Detach() (*net.UDPConn, error) {
	switch {
	case !c.ok():
		return nil, errNoSocket("detach")
	case c.pulled != nil, c.cfg.Network != nil, !sys.CanDetach:
		return nil, c.opError("detach", netip.AddrPort{}, errors.ErrUnsupported)
	case !c.life.Enter(life.Detaching):
		return nil, c.opError("detach", netip.AddrPort{}, net.ErrClosed)
	}
	c.wake()
	<-c.life.Done()
	if c.life.Detached == nil {
		return nil, c.opError("detach", netip.AddrPort{}, cmp.Or(c.life.Kept, net.ErrClosed))
	}
	return c.life.Detached, nil
}

// Run waits until the socket stops or ctx is done. When ctx is done, it shuts the
// socket down as [Conn.Shutdown] does, within grace. It returns nil after Close and
// after a complete shutdown, otherwise the error that stopped the socket or ended the
// shutdown. It suits an errgroup.
func (c *Conn) Run(ctx context.Context, grace time.Duration) error {
	if !c.ok() {
		return errNoSocket("run")
	}
	select {
	case <-c.life.Done():
		return c.life.Err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := c.Shutdown(last); err != nil {
		return err
	}
	return c.life.Err
}

// Closing returns a channel that is closed when closing begins: in Close, or in
// Shutdown after the last datagram. A Handler that blocks should wait for it, too.
func (c *Conn) Closing() <-chan struct{} {
	if !c.ok() {
		return closedChan
	}
	return c.life.Closing()
}

// Done returns a channel that is closed when the socket is closed and the last
// callback has returned.
func (c *Conn) Done() <-chan struct{} {
	if !c.ok() {
		return closedChan
	}
	return c.life.Done()
}

// Err returns the error that stopped the socket. It is nil before Done is closed, and
// after Close or Shutdown.
func (c *Conn) Err() error {
	if !c.ok() {
		return errNoSocket("close")
	}
	select {
	case <-c.life.Done():
		return c.life.Err
	default:
		return nil
	}
}
