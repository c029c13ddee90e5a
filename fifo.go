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
// The sockets whose Handler the Queue or the Workers are put datagrams in, and the
// channel is closed after the last of them has stopped. Other callers pass datagrams
// on at any time, so they hold ending.
type fifo struct {
	ch       chan Datagram
	overflow Overflow
	whole    int  // this many datagrams wait in the buffers they were read into
	working  bool // of Workers: a datagram is Handled when it comes out, not when it goes in

	replied atomic.Pointer[Conn] // in whose outbox consumers may have left a reply

	counters *fifoCounters

	over   chan struct{} // closed when the fifo ends: nobody waits for room any more
	ending sync.RWMutex  // guards ended
	ended  bool          // ch is closed
}

// fifoCounters count for one Queue, or for all workers of one Workers.
type fifoCounters struct {
	received, dropped atomic.Uint64 // datagrams
	peak              atomic.Uint64 // the most that waited in one fifo
}

// wholeBuffers bounds what waiting datagrams hold beyond their own length: 64 buffers
// of 64 KiB are 4 MiB. A consumer that keeps up has nothing copied.
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

// flushReplies is for a consumer that finds nothing more to do.
func (f *fifo) flushReplies() {
	if f.replied.Load() == nil {
		return
	}
	if c := f.replied.Swap(nil); c != nil {
		c.out.Flush()
	}
}

// put puts a datagram in that its own socket's reader has retained, and returns
// stats.NotDropped, or why it was dropped. It counts neither in the socket's counters.
func (f *fifo) put(c *Conn, d *Datagram) stats.Reason {
	select {
	case f.ch <- *d:
		return stats.NotDropped
	default:
	}
	return f.overflowed(c, d)
}

// overflowed is put when there is no room.
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

// pass puts in a datagram that a Handler passes on or has made. The copy in the
// channel has a packet of its own: who uses it is nobody else's business.
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
		c.out.Flush() // a consumer may wait for an answer to what was sent
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
	if p.header.conn == nil && c != nil { // it stands for one of c's
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

// shorter moves d into a short buffer, if it lies in a long one and is short enough
// for that to save memory.
func shorter(b *buffer.Buffer, d *Datagram) *buffer.Buffer {
	if len(b.B) != buffer.Size || len(d.Data) > buffer.Size/4 {
		return nil
	}
	s := buffer.Of(len(d.Data))
	n := copy(s.B, d.Data)
	d.Data = s.B[:n:n]
	return s
}
