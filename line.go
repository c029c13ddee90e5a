package udp

import (
	"sync"

	"github.com/udpkit/udp/internal/buffer"
)

// line is where datagrams wait for a goroutine, in a Queue or in Workers. From
// put on it answers for them in the counters of their sockets.
//
// It ends with the last of its sockets. Others may still put into it what they
// pass on, so they hold ending, to read, while they do.
type line struct {
	ch       chan Datagram
	overflow Overflow
	whole    int  // this many wait in the buffer they were read into, the others in short ones
	working  bool // of Workers: datagrams are Handled when they come out, not when they go in

	over   chan struct{} // closed when it ends: who waits for room waits no more
	ending sync.RWMutex  // guards ended
	ended  bool          // ch is closed
}

// end closes the line.
func (l *line) end() {
	close(l.over)
	l.ending.Lock()
	defer l.ending.Unlock()
	l.ended = true
	close(l.ch)
}

// wholeBuffers bounds what the datagrams that wait in one Queue hold beyond
// their own length: 64 buffers of 64 KiB are 4 MiB. A consumer that keeps up
// has nothing copied, nor has one whose datagrams fill their buffers, as those
// of trains do: copying them cost two thirds of the throughput.
const wholeBuffers = 64

// put adds d, which the Received of c was called with, for h. Mostly it is c's own,
// and h its Handler, but a Handler may pass on what it has from another socket, or
// has made.
func (l *line) put(c *Conn, d *Datagram, h Handler) {
	waiting := len(l.ch)
	full := l.overflow == DropNewest && waiting == cap(l.ch)
	first, asItLies := false, false
	made := d.conn == nil
	if made {
		d.conn = c
	} else if c == nil {
		c = d.conn
	}
	if d.conn != nil {
		first, asItLies = d.conn.take(d, !full, made)
	}
	if c != nil && l.overflow == Block && waiting == cap(l.ch) {
		c.flushFirst() // also in place, but not while it keeps the line from ending
	}
	if !first || d.conn.handler != h { // else it ends after this callback
		l.ending.RLock()
		defer l.ending.RUnlock()
		full = full || l.ended
	}
	if full {
		d.count(dropQueue)
	} else {
		l.place(c, d, waiting, first, asItLies)
	}
	if first {
		d.conn.reader.taken = true
	}
}

// place is put once d is counted as not handled. When it is the first call for
// the datagram that its socket's goroutine handles, it may use what belongs to that.
func (l *line) place(c *Conn, d *Datagram, waiting int, first, asItLies bool) {
	ours := first && d.buf != nil && d.buf == d.conn.reader.buf
	d.keep(waiting >= l.whole && !asItLies, ours)
	if l.working && d.conn != nil {
		d.conn.work.begin() // before a worker can end it
	}
	select {
	case l.ch <- *d:
		if ours && !l.working {
			d.conn.reader.handled++
			d.conn.stats.waited(min(waiting+1, cap(l.ch)))
		} else {
			l.entered(d)
		}
		return
	default:
	}
	if first {
		d.conn.reader.countHandled() // of those before: this may take long
	}
	switch l.overflow {
	case Block:
		var closing <-chan struct{}
		if c != nil {
			closing = c.closing
			c.flushFirst() // who takes datagrams out may wait for an answer to one of them
		}
		select {
		case l.ch <- *d:
			l.entered(d)
		case <-closing:
			l.lost(d, dropClosed)
		case <-l.over:
			l.lost(d, dropQueue)
		}
	case DropNewest:
		l.lost(d, dropQueue)
	case DropOldest:
		for {
			select {
			case old := <-l.ch:
				l.left(&old)
				l.lost(&old, dropQueue)
			default:
			}
			select {
			case l.ch <- *d:
				l.entered(d)
				return
			default:
			}
		}
	}
}

func (l *line) entered(d *Datagram) {
	if d.conn == nil {
		return
	}
	if !l.working {
		d.conn.stats.handled.Add(1)
	}
	d.conn.stats.waited(len(l.ch))
}

// left undoes entered.
func (l *line) left(d *Datagram) {
	if d.conn != nil && !l.working {
		d.conn.stats.handled.Add(-1)
	}
}

// lost counts and releases a datagram that will not come out.
func (l *line) lost(d *Datagram, why reason) {
	d.count(why)
	d.Release()
	if l.working && d.conn != nil {
		d.conn.work.end()
	}
}

// count counts a datagram that nobody will get.
func (d *Datagram) count(why reason) {
	if d.conn != nil {
		d.conn.stats.dropped[why].Add(1)
	}
}

// keep makes d valid after Received: as it lies, or in a shorter buffer.
func (d *Datagram) keep(short, ours bool) {
	if short && d.buf != nil && len(d.buf.B) == buffer.Size && len(d.Data) <= buffer.Size/4 {
		b := buffer.Of(len(d.Data))
		n := copy(b.B, d.Data)
		d.Data, d.buf = b.B[:n:n], b
		return
	}
	if ours {
		d.conn.reader.retain()
	} else {
		d.Retain()
	}
}
