package udp

import (
	"errors"
	"net"
	"runtime/debug"
	"time"

	"github.com/udpkit/udp/internal/goid"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

var _ socket.Sink = (*reader)(nil)

// reader is the goroutine of a socket: it takes what the socket has read and
// calls the Handler. It is a socket.Sink.
type reader struct {
	*Conn
	packets []socket.Packet // of the read that is being handled
	at, off int             // where the next datagram is: its packet, its offset
	handled int             // of packets, not yet in the counters
	faults  int             // failed reads since the last good one
	err     error           // what ended it
}

func (r *reader) run() {
	r.callback.Store(goid.ID())
	defer r.finish()
	if r.err != nil {
		return
	}
	r.err = errGoexit // unless a callback calls runtime.Goexit, as t.FailNow does
	r.err = r.sock.Serve(r)
	if r.closed() || r.phase.Load() == draining {
		r.err = nil
	}
}

var errGoexit = errors.New("udp: a callback ended its goroutine with runtime.Goexit")

// finish closes everything, in any case.
func (r *reader) finish() {
	r.stop()
	defer close(r.done)
	r.flushHandled()
	r.dropRest()
	r.discard()
	r.stats.kernelDrops.Store(r.sock.Drops())
	if r.groups != nil {
		r.groups.stop()
	}
	if err := r.sock.Close(); r.err == nil && err != nil && !errors.Is(err, net.ErrClosed) {
		r.err = err
	}
	r.guard("Stopped", func() { r.handler.Stopped(r.Conn, r.opErrorOnce(r.err)) })
}

func (r *reader) opErrorOnce(err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "read", Net: r.network, Source: r.LocalAddr(), Err: err}
}

// Packets implements socket.Sink.
func (r *reader) Packets(ps []socket.Packet) bool {
	n, bytes := 0, 0
	for i := range ps {
		n += datagrams(&ps[i])
		bytes += len(ps[i].Data)
	}
	r.stats.reads.Add(1)
	r.stats.received.Add(uint64(n))
	r.stats.receivedBytes.Add(uint64(bytes))
	r.faults = 0

	r.packets, r.at, r.off = ps, 0, 0
	for !r.dispatch() {
	}
	r.flushHandled()
	r.packets = nil
	return !r.closed()
}

// datagrams counts those in p.
func datagrams(p *socket.Packet) int {
	if p.Segment == 0 || len(p.Data) == 0 {
		return 1
	}
	return (len(p.Data) + p.Segment - 1) / p.Segment
}

// dispatch hands the datagrams on. It returns false when a panic broke it off;
// the position has moved on by then, so it can be called again.
func (r *reader) dispatch() (all bool) {
	defer r.contain(&all)
	for r.at < len(r.packets) {
		p := &r.packets[r.at]
		start, end := r.off, len(p.Data)
		if p.Segment > 0 && end-start > p.Segment {
			end = start + p.Segment
			r.off = end
		} else {
			r.at, r.off = r.at+1, 0
		}
		if r.accept(p, end-start) {
			r.handler.Received(r.Conn, Datagram{
				Data: p.Data[start:end:end], From: p.From, To: p.To, IfIndex: p.IfIndex,
				ECN: ECN(p.ECN), Time: p.Time, own: p.Own, conn: r.Conn, buf: p.Buf,
			})
			r.handled++
		}
	}
	return true
}

// accept says whether a datagram of n bytes is for the Handler, and counts it
// if not.
func (r *reader) accept(p *socket.Packet, n int) bool {
	switch peer := r.peer.Load(); {
	case r.closed():
		r.stats.closed.Add(1)
	case p.Truncated || n > r.cfg.MaxDatagram:
		r.stats.truncated.Add(1)
	case peer != nil && *peer != p.From:
		r.stats.stranger.Add(1)
	case r.checkGroups && p.To.IsMulticast() && !r.groups.wants(p.To, p.From.Addr(), p.IfIndex):
		r.stats.stranger.Add(1)
	default:
		return true
	}
	return false
}

// contain counts a datagram whose Received did not return, and logs its panic.
// Without one it was runtime.Goexit.
func (r *reader) contain(all *bool) {
	v := recover()
	if *all {
		return
	}
	r.stats.panicked.Add(1)
	if v != nil {
		r.panicked("Received", v)
	}
}

// dropRest counts what was read and will not be handled any more.
func (r *reader) dropRest() {
	for ; r.at < len(r.packets); r.at++ {
		p := r.packets[r.at]
		p.Data = p.Data[r.off:]
		r.off = 0
		r.stats.closed.Add(uint64(datagrams(&p)))
	}
	r.packets = nil
}

func (r *reader) flushHandled() {
	r.stats.handled.Add(int64(r.handled))
	r.handled = 0
}

// Reports implements socket.Sink.
func (r *reader) Reports(rs []socket.Report) bool {
	for i := range rs {
		if r.closed() {
			return false
		}
		r.refuse(r.refusal(rs[i]))
	}
	return !r.closed()
}

// refuse tells the Handler about one ICMP message.
func (r *reader) refuse(f *Refusal) {
	r.stats.refused.Add(1)
	r.guard("Refused", func() { r.handler.Refused(r.Conn, f) })
}

// Fault implements socket.Sink: it sorts the errors of reads. Nothing but a
// closed socket ends the reader.
func (r *reader) Fault(err error) bool {
	if r.closed() {
		return false
	}
	switch sys.Classify(err) {
	case sys.Closed:
		r.err = err
		return false
	case sys.Again:
		return true
	case sys.Report, sys.Unreachable:
		if peer := r.peer.Load(); peer != nil {
			r.refuse(r.refusal(socket.Report{Err: errnoOf(err)}))
		}
		return !r.closed()
	}
	r.stats.readErrors.Add(1)
	r.log.warn(r.Conn, "udp: read failed", err)
	return r.backOff()
}

// backOff waits after failed reads, longer each time: 1 ms to 1 s. It returns
// false when the socket is closed meanwhile.
func (r *reader) backOff() bool {
	wait := time.Millisecond << min(r.faults, 10)
	r.faults++
	t := time.NewTimer(min(wait, time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.closing:
		return false
	}
}

// Woken implements socket.Sink. It runs the events there are now; what they
// post themselves comes after the next read, so that reading never starves.
func (r *reader) Woken() socket.Action {
	r.mu.Lock()
	events := r.events
	r.events = nil
	r.mu.Unlock()
	for _, f := range events {
		if r.closed() {
			return socket.Stop
		}
		f()
	}
	switch r.phase.Load() {
	case stopping:
		return socket.Stop
	case draining:
		return socket.Drain
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) > 0 {
		return socket.Soon
	}
	return socket.Continue
}

// guard calls f, a callback, and survives its panic.
func (c *Conn) guard(name string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(name, v)
		}
	}()
	f()
}

func (c *Conn) panicked(callback string, v any) {
	c.stats.panics.Add(1)
	c.log.panicked(c, callback, v, debug.Stack())
}
