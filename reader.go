package udp

import (
	"errors"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/udpkit/udp/internal/buffer"
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
	handled int             // of the packet, not yet in the counters
	outbox  *outbox         // nil: nothing gathered
	taken   bool            // a Queue or Workers answer for the datagram in the counters
	shared  *buffer.Buffer  // that the last datagram taken lies in
	kept    int             // datagrams of it that a Queue or Workers took
	bytes   int             // in them
	full    bool            // the one before was well used
	faults  int             // failed reads since the last good one
	fatal   error           // the read error that ends it
	err     error           // what ended it
}

func (r *reader) run() {
	r.callback.Store(goid.ID())
	defer r.finish()
	if r.err != nil {
		return
	}
	r.err = errGoexit // unless a callback calls runtime.Goexit, as t.FailNow does
	err := r.sock.Serve(r)
	if r.err = r.fatal; err != nil {
		r.err = err
	}
	if r.closed() || r.phase.Load() == draining {
		r.err = nil
	}
}

var errGoexit = errors.New("udp: a callback ended its goroutine with runtime.Goexit")

// finish closes everything, in any case.
func (r *reader) finish() {
	r.tellFlush(r.flush()) // Goexit in Received left it
	defer close(r.done)
	if r.phase.Load() == draining && r.err == nil {
		r.work.wait(r.closing) // Close, and the end of Shutdown's context, cut it short
	}
	r.stop()
	r.dropRest()
	r.discard()
	r.stats.kernel.sample(r.sock, true)
	if r.groups != nil {
		r.groups.stop()
	}
	if err := r.sock.Close(); r.err == nil && err != nil && !errors.Is(err, net.ErrClosed) {
		r.err = err
	}
	r.settled.Store(true)
	r.work.wait(nil)
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
	reads := r.stats.reads.Add(1)
	r.stats.received.Add(uint64(n))
	r.stats.receivedBytes.Add(uint64(bytes))
	raise(&r.stats.largest, uint64(n))
	if reads%kernelDropsEvery == 0 {
		r.stats.kernel.sample(r.sock, false)
	}
	r.faults = 0

	r.settled.Store(true)
	r.packets, r.at, r.off = ps, 0, 0
	for !r.dispatch() {
	}
	r.tellFlush(r.flush())
	r.packets = nil
	r.settled.Store(false)
	return !r.closed()
}

// kernelDropsEvery is how many reads go by between two looks at a counter that
// starts again after 4 billion.
const kernelDropsEvery = 1 << 16

// datagrams counts those in p.
func datagrams(p *socket.Packet) int {
	if p.Segment == 0 || len(p.Data) == 0 {
		return 1
	}
	return (len(p.Data) + p.Segment - 1) / p.Segment
}

// dispatch hands the datagrams on. It returns false when a panic broke it off;
// the position has moved on by then, so it can be called again.
//
// Half of what a datagram costs here is copying its 136 bytes for the call, so
// it is built once for a train, and a HandlerFunc is called without the detour
// over the interface.
func (r *reader) dispatch() (all bool) {
	defer r.contain(&all)
	for r.at < len(r.packets) {
		p := &r.packets[r.at]
		d := Datagram{
			From: p.From, To: p.To, IfIndex: p.IfIndex, ECN: ECN(p.ECN), Time: p.Time,
			own: p.Own, conn: r.Conn, buf: p.Buf,
		}
		peer := r.peer.Load()
		why := r.unwanted(p, peer)
		for more := true; more; {
			start, end := r.off, len(p.Data)
			if more = p.Segment > 0 && end-start > p.Segment; more {
				end = start + p.Segment
				r.off = end
			} else {
				r.at, r.off = r.at+1, 0
			}
			if now := r.peer.Load(); now != peer { // a callback has changed it
				peer, why = now, r.unwanted(p, now)
			}
			switch {
			case r.closed():
				r.stats.dropped[dropClosed].Add(1)
				continue
			case end-start > r.cfg.MaxDatagram:
				r.stats.dropped[dropTruncated].Add(1)
				continue
			case why != wanted:
				r.stats.dropped[why].Add(1)
				continue
			}
			d.Data = p.Data[start:end:end]
			r.taken = false
			if r.function != nil {
				r.function(r.Conn, d)
			} else {
				r.handler.Received(r.Conn, d)
			}
			if !r.taken {
				r.handled++
			}
		}
		r.countHandled()
	}
	return true
}

// wanted is no reason to drop a datagram.
const wanted reason = -1

// unwanted says why a packet is not for the Handler, given the peer.
func (r *reader) unwanted(p *socket.Packet, peer *netip.AddrPort) reason {
	switch {
	case p.Truncated:
		return dropTruncated
	case peer != nil && *peer != p.From:
		return dropStranger
	case r.checkGroups && !r.groups.wants(p.To, p.From.Addr(), p.IfIndex):
		return dropStranger
	}
	return wanted
}

// countHandled is called for each packet, not for each datagram of a train.
func (r *reader) countHandled() {
	if r.handled > 0 {
		r.stats.handled.Add(int64(r.handled))
		r.handled = 0
	}
}

// contain counts a datagram whose Received did not return, and logs its panic.
// Without one it was runtime.Goexit.
func (r *reader) contain(all *bool) {
	v := recover()
	r.countHandled()
	if *all {
		return
	}
	if !r.taken {
		r.stats.dropped[dropPanicked].Add(1)
	}
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
		r.stats.dropped[dropClosed].Add(uint64(datagrams(&p)))
	}
	r.packets = nil
}

// take makes the caller, which has been given a datagram, answer for it in the
// counters, where otherwise it would be Handled once Received returns.
//
// It also says whether d may be kept as it lies: when the buffer before was well
// used, as those of trains are. Then it holds no more memory for a datagram than
// a short buffer would.
func (c *Conn) take(d Datagram, keeps bool) (asItLies bool) {
	if !c.inCallback() {
		c.stats.handled.Add(-1) // Received was not called by the reader
		return false
	}
	r := &c.reader
	r.taken = true
	if d.buf != r.shared {
		r.full = r.kept >= buffer.Size/buffer.Short || r.bytes >= buffer.Size/2
		r.shared, r.kept, r.bytes = d.buf, 0, 0
	}
	if keeps {
		r.kept++
		r.bytes += len(d.Data)
	}
	return r.full
}

// Reports implements socket.Sink.
func (r *reader) Reports(rs []socket.Report) bool {
	r.settled.Store(true)
	defer r.settled.Store(false)
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
// closed socket ends the reader, and no error makes it spin.
func (r *reader) Fault(err error) bool {
	if r.closed() {
		return false
	}
	class := sys.Classify(err)
	switch class {
	case sys.Closed:
		r.fatal = err
		return false
	case sys.Again:
		return r.faulted(freeFaults, 0)
	case sys.Report, sys.Unreachable, sys.TooLarge:
		// An ICMP message. That no Refusal comes of it on an unconnected socket is
		// as it should be: the system does not say whose datagram it was.
		if r.peer.Load() != nil {
			r.settled.Store(true)
			r.refuse(r.refusal(socket.Report{Err: errnoOf(err)}))
			r.settled.Store(false)
			return !r.closed() && r.faulted(freeFaults, 0)
		}
	}
	r.stats.readErrors.Add(1)
	r.log.warn(r.Conn, "udp: read failed", err)
	return r.faulted(0, maxBackOff)
}

// Bounds of reading on after errors. The kernel gives each error once, so that
// it is read on at once after freeFaults of those that say something about an
// earlier datagram, and then a thousand times a second; after others the pauses
// grow to a second.
const (
	freeFaults = 64
	maxBackOff = 10 // as a power of two, milliseconds
)

// faulted counts a failed read and waits, but for the first free ones, longer
// each time up to 2^longest milliseconds. It returns false when the socket is
// closed meanwhile.
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
	r.settled.Store(true)
	for _, f := range events {
		if r.closed() {
			return socket.Stop
		}
		f()
	}
	r.settled.Store(false)
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
