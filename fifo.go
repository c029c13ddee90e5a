package udp

import (
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/stats"
)

// fifo is the bounded channel behind a Queue or one worker. Once put or pass accepts
// a datagram, the fifo accounts for it.
//
// Sockets whose Handler is the Queue or the Workers call put. The channel is closed
// after the last of them has stopped. Other Handlers call pass at any time, so pass
// holds ending.
type fifo struct {
	ch       chan Datagram
	overflow Overflow
	whole    int  // number of datagrams that wait in the buffers that they were read into
	working  bool // of Workers: a datagram is Handled when it was received from the fifo, not when it was put

	replied atomic.Pointer[Conn] // its outbox may hold replies of consumers

	counters *fifoCounters

	over   chan struct{} // closed when the fifo ends, to release those that wait for room
	ending sync.RWMutex  // guards ended
	ended  bool          // ch is closed
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
	f.counters = counters
	f.ch, f.over = make(chan Datagram, capacity), make(chan struct{})
	f.overflow, f.whole = overflow, whole
}

// end closes the channel.
func (f *fifo) end() {
	close(f.over)
	f.ending.Lock()
	defer f.ending.Unlock()
	f.ended = true
	close(f.ch)
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
	select {
	case f.ch <- *d:
		return stats.NotDropped
	default:
	}
	return f.overflowed(c, d)
}

// overflowed is the part of put for a full fifo.
func (f *fifo) overflowed(c *Conn, d *Datagram) stats.Reason {
	why := stats.DropQueue
	switch f.overflow {
	case Block:
		select {
		case f.ch <- *d:
			return stats.NotDropped
		case <-c.closingChan():
			why = stats.DropClosed
		case <-f.over:
		}
	case DropOldest:
		for {
			select {
			case old := <-f.ch:
				f.evict(&old)
			default:
			}
			select {
			case f.ch <- *d:
				return stats.NotDropped
			default:
			}
		}
	}
	if d.header().refusal == nil {
		f.counters.dropped.Add(1)
	}
	d.Release()
	return why
}

// evict drops a datagram that was accepted.
func (f *fifo) evict(d *Datagram) {
	h := d.header()
	if h.refusal != nil {
		h.refusal.lost()
	} else {
		f.counters.dropped.Add(1)
		if !d.packet.passed {
			if !f.working {
				h.conn.stats.Handled.Add(-1)
			}
			h.conn.countDropped(*d, stats.DropQueue)
		}
	}
	d.Release()
	if f.working && !d.packet.passed {
		h.conn.consumer.work.End()
	}
}

// pass puts in a datagram that a Handler passes on or has made. It gets its own
// packet, so that its lease is independent.
func (f *fifo) pass(c *Conn, d Datagram) {
	f.counters.received.Add(1)
	f.ending.RLock()
	defer f.ending.RUnlock()
	if f.ended || f.overflow == DropNewest && len(f.ch) == cap(f.ch) {
		f.counters.dropped.Add(1)
		return
	}
	d = f.own(c, d)
	if c == nil {
		c = d.Conn()
	}
	if f.overflow == Block && len(f.ch) == cap(f.ch) && c != nil {
		c.out.Flush() // a consumer may be waiting for the response to a datagram in the outbox
	}
	if f.put(c, &d) == stats.NotDropped {
		stats.Raise(&f.counters.peak, uint64(len(f.ch)))
	}
}

// own retains d for the fifo's consumer, in a short buffer if many datagrams wait.
func (f *fifo) own(c *Conn, d Datagram) Datagram {
	p := newPacket()
	p.queue, p.passed, p.header = f, true, d.header()
	if old := d.packet; old != nil {
		p.time, p.control = old.time, old.control
		if b := old.lease.Buffer(); b != nil {
			if len(f.ch) >= f.whole {
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
