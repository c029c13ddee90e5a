package udp

import (
	"sync/atomic"

	"github.com/udpkit/udp/internal/bounded"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/stats"
)

// fifo is the bounded channel behind a Queue or one worker. Once put or pass accepts
// a datagram, the fifo accounts for it.
//
// Its owners are the sockets whose Handler is the Queue or the Workers: they call put,
// and it ends after the last of them has stopped. Other Handlers call pass at any time.
type fifo struct {
	bounded.Chan[Datagram]
	whole    int                  // number of datagrams that wait in the buffers that they were read into
	working  bool                 // of Workers: a datagram is Handled when it was received from the fifo, not when it was put
	replied  atomic.Pointer[Conn] // its outbox may hold replies of consumers
	counters *fifoCounters
}

// fifoCounters count for one Queue, or for all workers of one Workers.
type fifoCounters struct {
	received, dropped atomic.Uint64 // datagrams
	peak              atomic.Uint64 // most that waited in one fifo
}

// wholeBuffers bounds the memory that waiting datagrams hold beyond their own length:
// 64 buffers of 64 KiB are 4 MiB. For a consumer that keeps up nothing is copied.
const wholeBuffers = 64

func (f *fifo) init(capacity int, overflow Overflow, whole int, counters *fifoCounters) {
	f.Init(capacity, bounded.Overflow(overflow), f.evict)
	f.whole, f.counters = whole, counters
}

// flushReplies sends the outbox for a consumer that has no more work.
func (f *fifo) flushReplies() {
	if f.replied.Load() == nil {
		return
	}
	if c := f.replied.Swap(nil); c != nil {
		c.out.Flush()
	}
}

// put puts in a datagram that the reader of its socket has retained. It returns
// stats.NotDropped or the reason for the drop. The caller counts it for the socket.
func (f *fifo) put(c *Conn, d *Datagram) stats.Reason {
	why := stats.DropQueue
	switch f.Put(*d, c.closingChan()) {
	case bounded.Accepted:
		return stats.NotDropped
	case bounded.Canceled:
		why = stats.DropClosed
	}
	if d.header().refusal == nil {
		f.counters.dropped.Add(1)
	}
	d.Release()
	return why
}

// evict drops a datagram that was accepted.
func (f *fifo) evict(d Datagram) {
	h := d.header()
	if h.refusal != nil {
		h.refusal.lost()
	} else {
		f.counters.dropped.Add(1)
		if !d.packet.passed {
			if !f.working {
				h.conn.stats.Handled.Add(-1)
			}
			h.conn.countDropped(d, stats.DropQueue)
		}
	}
	d.Release()
	f.end(h.conn)
}

// begin counts a datagram or ICMP error of c for its Shutdown, if the fifo is a worker's.
func (f *fifo) begin(c *Conn) {
	if f.working && c != nil {
		c.consumer.work.Begin()
	}
}

// end follows begin, when it was handled or dropped.
func (f *fifo) end(c *Conn) {
	if f.working && c != nil {
		c.consumer.work.End()
	}
}

// pass puts in a datagram that a Handler passes on or has made. It gets its own
// packet, so that its lease is independent.
func (f *fifo) pass(c *Conn, d Datagram) {
	f.counters.received.Add(1)
	if !f.Enter() {
		f.counters.dropped.Add(1)
		return
	}
	defer f.Leave()
	if f.Overflow == bounded.DropNewest && f.Full() {
		f.counters.dropped.Add(1)
		return
	}
	d = f.own(c, d)
	if c == nil {
		c = d.Conn()
	}
	if f.Overflow == bounded.Block && f.Full() && c != nil {
		c.out.Flush() // a consumer may be waiting for the response to a datagram in the outbox
	}
	of := d.Conn()
	f.begin(of)
	if f.put(c, &d) == stats.NotDropped {
		stats.Raise(&f.counters.peak, uint64(len(f.C)))
	} else {
		f.end(of)
	}
}

// own retains d for the fifo's consumer, in a short buffer if many datagrams wait.
func (f *fifo) own(c *Conn, d Datagram) Datagram {
	p := newPacket()
	p.queue, p.passed, p.header = f, true, d.header()
	if old := d.packet; old != nil {
		p.time, p.control = old.time, old.control
		if b := old.lease.Buffer(); b != nil {
			if len(f.C) >= f.whole {
				if s := shorter(b, &d); s != nil {
					d.packet = p
					p.keep(s, d.Data)
					s.Release(1) // the packet's is the only reference
					return d
				}
			}
			p.keep(b, d.Data)
		}
	}
	if p.header.conn == nil && c != nil { // treat it as received by c
		h := *p.header
		h.conn = c
		p.header = &h
	}
	d.packet = p
	return d
}

// keep retains the only datagram of p.
func (p *packet) keep(b *buffer.Buffer, data []byte) {
	p.lease.Init(b, data, 0)
	p.lease.RetainAll(b, 1)
}

// shorter moves d from a long buffer into a short one, if that saves memory.
func shorter(b *buffer.Buffer, d *Datagram) *buffer.Buffer {
	if len(b.B) != buffer.Size || len(d.Data) > buffer.Size/4 {
		return nil
	}
	s := buffer.Of(len(d.Data))
	n := copy(s.B, d.Data)
	d.Data = s.B[:n:n]
	return s
}
