package udp

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/life"
	"github.com/udpkit/udp/internal/sys"
)

// Close starts closing the socket. It always returns nil. From then on sends fail with
// [net.ErrClosed], and nothing more is received. A callback that is running finishes,
// then Stopped is called, and then Done is closed. Close may be called from anywhere,
// also inside callbacks and while holding locks that callbacks need. It may be called
// again.
//
// Datagrams that were read and not handled are counted in [Drops.Closed]. So are those
// that wait in the kernel, except on Windows and Plan 9. What Reply and Enqueue have
// copied is sent, as far as the kernel has room.
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
// closes the socket and waits for Done. What arrives meanwhile is refused where the
// system can do that (Linux: counted in Stats.KernelDrops). The socket can send until
// the last datagram is handled.
//
// If ctx is done first, Shutdown closes the socket as Close does and returns an error
// that wraps ctx's. Stats says how many datagrams were handled. Shutdown waits for
// callbacks, so inside one start it with go.
//
// With a [Queue], a datagram is handled when it is in the channel. With [Workers], it
// is handled when the Handler behind them has returned.
func (c *Conn) Shutdown(ctx context.Context) error {
	if !c.ok() {
		return errNoSocket("shutdown")
	}
	if c.pulled != nil {
		return c.Close() // there is no Handler
	}
	if c.life.Enter(life.Draining) {
		c.sock.StopIntake() // the reader may be in a callback
	}
	c.events.signal()
	c.sock.Wake()
	select {
	case <-c.life.Done():
		return nil
	case <-ctx.Done():
	}
	select {
	case <-c.life.Done(): // whatever happened to ctx
		return nil
	default:
	}
	c.stop()
	return c.opError("shutdown", netip.AddrPort{}, ctx.Err())
}

// Detach stops the Conn and returns its socket. The socket keeps its port, its peer,
// its memberships and everything that waits in its receive buffer, so nothing is lost
// when another owner reads it, as after a restart. What had been read is handled first,
// and the options that the Conn has changed are restored. Detach waits for Done, and
// thus for callbacks, so inside one start it with go.
//
// On Linux, datagrams that the kernel has already coalesced appear as one to an owner
// that does not use UDP_GRO. To avoid that, set Config.NoOffload, or give the socket to
// [Config.Adopt].
//
// The error wraps [net.ErrClosed] if the socket is closed, and [errors.ErrUnsupported]
// on a simulated network and on systems that cannot duplicate a descriptor (Plan 9);
// there the socket goes on as if Detach had not been called. If the system has no
// descriptor left, the error says so, and the socket is closed as in Close.
func (c *Conn) Detach() (*net.UDPConn, error) {
	switch {
	case !c.ok():
		return nil, errNoSocket("detach")
	case c.pulled != nil, c.cfg.Network != nil, !sys.CanDetach:
		return nil, c.opError("detach", netip.AddrPort{}, errors.ErrUnsupported)
	case !c.life.Enter(life.Detaching):
		return nil, c.opError("detach", netip.AddrPort{}, net.ErrClosed)
	}
	c.events.signal()
	c.sock.Wake()
	<-c.life.Done()
	if c.life.Detached == nil {
		return nil, c.opError("detach", netip.AddrPort{}, cmp.Or(c.life.Kept, net.ErrClosed))
	}
	return c.life.Detached, nil
}

// Run waits until the socket stops or ctx is done, and then shuts it down as
// [Conn.Shutdown] does, within grace. It returns nil after Close and after a complete
// shutdown, otherwise the error that stopped the socket or ended the shutdown. Call it
// to run a socket in an errgroup.
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
