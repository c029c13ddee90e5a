package udp

import (
	"errors"
	"net"
	"time"

	"github.com/udpkit/udp/internal/life"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

var _ socket.Sink = (*reader)(nil)

// reader is the goroutine of a socket: it takes the packets that the socket has read
// and calls the Handler. Only that goroutine uses its fields.
type reader struct {
	conn    *Conn
	packets []socket.Packet // of the read that is being dispatched
	at, off int             // position of the next datagram: index of its packet, offset
	handled int             // datagrams of the packet that are not counted yet
	calling bool            // the Handler's Received is running
	fresh   *packets        // while dispatching
	headers headerCache
	faults  int   // failed reads since the last good one
	fatal   error // the read error that ends it
	err     error // what ended it
}

func (r *reader) run() {
	defer r.finish()
	if r.err != nil {
		return
	}
	r.err = errGoexit // unless a callback calls runtime.Goexit, as t.FailNow does
	err := r.conn.sock.Serve(r)
	if r.err = r.fatal; err != nil {
		r.err = err
	}
	if r.conn.life.Phase() != life.Running {
		r.err = nil
	}
}

var errGoexit = errors.New("udp: a callback ended its goroutine with runtime.Goexit")

// finish closes everything, however the reader ended.
func (r *reader) finish() {
	c := r.conn
	defer c.life.End()
	c.out.TryFlush() // the outbox is not empty after Goexit in Received
	phase := c.life.Phase()
	if phase >= life.Draining && phase < life.Stopping && r.err == nil {
		c.consumer.work.Wait(c.life.Closing()) // until Close, or the end of Shutdown's context
	}
	detach := r.err == nil && c.life.Phase() == life.Detaching
	c.stop()
	c.out.Stop()
	c.stats.RefusalsLost.Add(uint64(c.events.End()))
	if detach {
		c.stats.Kernel.Sample(c.sock, true)
		c.life.Detached, c.life.Kept = c.sock.Detach()
	}
	if c.life.Detached == nil {
		c.stats.CountLast(c.sock)
	}
	if c.groups.Manager != nil {
		c.groups.Stop()
	}
	c.peer.Stop()
	if c.life.Detached == nil {
		if err := c.sock.Close(); r.err == nil && err != nil && !errors.Is(err, net.ErrClosed) {
			r.err = err
		}
	}
	if c.consumer.workers != nil {
		c.consumer.work.Wait(nil)
	}
	c.life.Err = r.readError(r.err)
	c.guard.Call("Stopped", func() { c.consumer.handler.Stopped(c, c.life.Err) })
	c.stats.Verify(c)
}

func (r *reader) readError(err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "read", Net: r.conn.network, Source: r.conn.LocalAddr(), Err: err}
}

// Packets implements socket.Sink.
func (r *reader) Packets(ps []socket.Packet) bool {
	c := r.conn
	n, bytes := 0, 0
	for i := range ps {
		n += ps[i].Datagrams()
		bytes += len(ps[i].Data)
	}
	c.stats.CountRead(c.sock, n, bytes)
	r.faults = 0

	r.packets, r.at, r.off = ps, 0, 0
	r.fresh = packetPool.Get().(*packets)
	c.out.More.Store(n > 1)
	// Allocated here it takes less stack: the goroutine of an idle socket should keep
	// its initial stack (2 KiB).
	r.headers.find(c, &ps[0])
	for !r.dispatch() {
	}
	if c.consumer.readDone != nil {
		c.guard.Call("ReadDone", func() { c.consumer.readDone.ReadDone(c) })
	}
	c.out.TryFlush()
	packetPool.Put(r.fresh)
	r.packets, r.fresh = nil, nil
	return c.life.Phase() < life.Detaching
}

// Reports implements socket.Sink.
func (r *reader) Reports(rs []socket.Report) bool {
	for i := range rs {
		if sent := rs[i].Sent; !sent.IsZero() {
			if !r.conn.closed() {
				r.conn.guard.Call("OnTransmit", func() { r.conn.cfg.OnTransmit(r.conn, rs[i].Number, sent) })
			}
			continue
		}
		if r.conn.closed() {
			r.conn.stats.RefusalsLost.Add(uint64(len(rs) - i))
			return false
		}
		r.refuse(r.conn.refusal(rs[i]))
	}
	return !r.conn.closed()
}

// refuse passes one ICMP error to the Handler.
func (r *reader) refuse(f *Refusal) {
	r.conn.countRefusal(f)
	r.conn.guard.Call(r.conn.consumer.called("Refused"), func() { r.conn.consumer.handler.Refused(r.conn, f) })
}

// Fault implements socket.Sink: it classifies errors of reads. Only the error of a
// closed socket ends the reader here. It also ends when Serve cannot restore a destroyed
// socket (ECONNABORTED), and when a callback calls runtime.Goexit. No error makes it
// spin.
func (r *reader) Fault(err error) bool {
	c := r.conn
	if c.closed() {
		return false
	}
	switch sys.Classify(err) {
	case sys.Closed:
		r.fatal = err
		return false
	case sys.Again:
		return r.faulted(freeFaults, 0)
	case sys.Report, sys.Unreachable, sys.TooLarge:
		// An ICMP error. On an unconnected socket it makes no Refusal, because the
		// system does not report the datagram.
		if c.peer.Current.Load() != nil {
			r.refuse(c.refusal(socket.Report{Err: sys.ErrnoOf(err)}))
			return !c.closed() && r.faulted(freeFaults, 0)
		}
	}
	c.stats.ReadErrors.Add(1)
	c.guard.Warn("udp: read failed", err)
	return r.faulted(0, maxBackOff)
}

// Bounds for reading again after errors. The kernel returns the error of an earlier
// datagram only once. So the reader continues at once after up to freeFaults of those,
// and then pauses for a millisecond each. After other errors its pauses grow to a
// second.
const (
	freeFaults = 64
	maxBackOff = 10 // as a power of two, milliseconds
)

// faulted counts a failed read and pauses, except after the first free ones. The pause
// doubles each time, up to 2^longest milliseconds. Events and Shutdown end it. faulted
// returns false when the socket is closed meanwhile.
func (r *reader) faulted(free, longest int) bool {
	n := r.faults - free
	r.faults++
	if n < 0 {
		return true
	}
	t := time.NewTimer(min(time.Millisecond<<min(n, longest), time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.conn.events.Signaled:
		return true
	case <-r.conn.life.Closing():
		return false
	}
}

// Woken implements socket.Sink. It runs the events that wait now. Events that they
// post run after the next read, so that reading never starves.
func (r *reader) Woken() socket.Action {
	c := r.conn
	for _, f := range c.events.Take() {
		if c.closed() {
			return socket.Stop
		}
		f()
	}
	switch c.life.Phase() {
	case life.Detaching, life.Stopping:
		return socket.Stop
	case life.Draining:
		return socket.Drain
	}
	if c.events.Waiting() {
		return socket.Soon
	}
	return socket.Continue
}

// post runs f on the socket's goroutine.
func (c *Conn) post(f func()) {
	c.events.Post(f)
	c.wake()
}

// wake makes the reader call Woken soon, and ends a pause after errors. The Wake is first:
// a reader that continued without it would read the next error, and pause again.
func (c *Conn) wake() {
	c.sock.Wake()
	c.events.Signal()
}
