package udp

import (
	"net"
	"sync"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/goid"
	"github.com/udpkit/udp/internal/socket"
)

// An outbox gathers datagrams that leave together: those of a SendBatch, and what
// a Handler sends while more datagrams of the same read wait to be handled. That
// one belongs to the socket's goroutine, and is there only while it holds any.
//
// Payloads are copied, since callers may use theirs again, and lie side by side:
// neighbours of one destination become one message, a train, at once.
type outbox struct {
	messages []socket.Message
	count    int              // datagrams in them
	trains   bool             // the socket takes them
	ended    bool             // a shorter datagram has ended the last train
	copies   []*buffer.Buffer // of the payloads
	used     int              // bytes of the last copy
}

// What an outbox holds at the most.
const (
	maxGathered = 1024 // datagrams
	maxCopies   = 4    // buffers
)

var outboxes = sync.Pool{New: func() any { return new(outbox) }}

func (c *Conn) newOutbox() *outbox {
	o := outboxes.Get().(*outbox)
	o.trains = c.sock.Info().Segments > 1
	return o
}

// gathers says whether what the caller sends can wait: it runs in Received, and
// other datagrams of the read come after this one, or others wait already.
func (c *Conn) gathers() bool {
	if !goid.Fast || !c.inCallback() {
		return false
	}
	return c.reader.at < len(c.reader.packets) || c.reader.outbox != nil
}

// gather keeps a copy of m, and sends all when there is no room for more or
// nothing left to wait for.
func (r *reader) gather(m socket.Message) error {
	o := r.outbox
	if o != nil && !o.fits(len(m.Data)) {
		r.flush()
		o = nil
	}
	if !m.To.IsValid() { // the peer of now, whoever it is when this leaves
		if peer := r.peer.Load(); peer != nil {
			m.To = *peer
		}
	}
	if o == nil {
		o = r.newOutbox()
		r.outbox = o
	}
	if !o.extend(&m) {
		o.add(m)
	}
	return r.flushLast()
}

// gatherMore is gather for what is so like the message before that nothing needs
// to be checked again. It returns false when it is not.
func (r *reader) gatherMore(m *socket.Message) (bool, error) {
	like := *m
	if peer := r.peer.Load(); peer != nil && !m.To.IsValid() {
		like.To = *peer
	}
	if o := r.outbox; o == nil || r.closed() || !o.fits(len(m.Data)) || !o.extend(&like) {
		return false, nil
	}
	return true, r.flushLast()
}

// flushLast sends all when no other datagram of the read comes. The error is that
// of the datagram gathered last, which is the caller's.
func (r *reader) flushLast() error {
	if r.at < len(r.packets) {
		return nil
	}
	_, last := r.flushAll()
	return last
}

// flush sends what was gathered, by sends that have returned long since.
func (r *reader) flush() {
	_, last := r.flushAll()
	r.tell(last)
}

func (o *outbox) fits(n int) bool {
	return o.count < maxGathered && (len(o.copies) < maxCopies || o.used+n <= buffer.Size)
}

// extend makes m a part of the last message, if it can be.
func (o *outbox) extend(m *socket.Message) bool {
	if !o.trains || o.ended || len(o.messages) == 0 {
		return false
	}
	last, n := &o.messages[len(o.messages)-1], len(m.Data)
	size := last.Segment
	if size == 0 {
		size = len(last.Data)
	}
	if n == 0 || n > size || n > cap(last.Data)-len(last.Data) ||
		m.To != last.To || m.From != last.From || m.ECN != last.ECN || m.IfIndex != last.IfIndex {
		return false
	}
	last.Segment = size
	last.Data = append(last.Data, m.Data...) // there is room
	o.used += n
	o.count++
	o.ended = n < size
	return true
}

func (o *outbox) add(m socket.Message) {
	if len(o.copies) == 0 || o.used+len(m.Data) > buffer.Size {
		o.copies = append(o.copies, buffer.Get())
		o.used = 0
	}
	space := o.copies[len(o.copies)-1].B[o.used:]
	n := copy(space, m.Data)
	m.Data = space[:n] // with room for more
	o.used += n
	o.messages = append(o.messages, m)
	o.count++
	o.ended = false
}

// flushAll sends what was gathered. One that fails does not stop those after it.
// It returns the first error, and that of the last datagram, which is the only
// one that it has not told to the Logger.
func (r *reader) flushAll() (head, last error) {
	o := r.outbox
	if o == nil {
		return nil, nil
	}
	r.outbox = nil
	for ms := o.messages; len(ms) > 0; {
		n, err := 0, error(net.ErrClosed)
		if !r.closed() {
			n, err = r.sock.SendBatch(ms)
		}
		ms = r.skip(ms, n, true)
		if err == nil {
			continue
		}
		err = r.sendAgain(first(ms), err)
		if head == nil {
			head = err
		}
		if ms = r.skip(ms, 1, false); len(ms) == 0 {
			last = err
		} else {
			r.tell(err)
		}
	}
	o.giveBack()
	return head, last
}

// skip takes n datagrams off the front of ms, and counts them if they were sent.
func (c *Conn) skip(ms []socket.Message, n int, sent bool) []socket.Message {
	bytes := 0
	for left := n; left > 0; {
		m := &ms[0]
		size := max(m.Segment, 1)
		all := 1
		if m.Segment > 0 {
			all = (len(m.Data) + size - 1) / size
		}
		if left < all {
			bytes += left * size
			m.Data = m.Data[left*size:]
			break
		}
		left -= all
		bytes += len(m.Data)
		ms = ms[1:]
	}
	if sent {
		c.stats.sent.Add(uint64(n))
		c.stats.sentBytes.Add(uint64(bytes))
	}
	return ms
}

// first is the first datagram of ms by itself.
func first(ms []socket.Message) socket.Message {
	one := ms[0]
	if one.Segment > 0 {
		one.Data, one.Segment = one.Data[:min(one.Segment, len(one.Data))], 0
	}
	return one
}

func (o *outbox) giveBack() {
	o.reset()
	outboxes.Put(o)
}

// reset empties o.
func (o *outbox) reset() {
	clear(o.messages)
	o.messages, o.count = o.messages[:0], 0
	for i, b := range o.copies {
		b.Release(1)
		o.copies[i] = nil
	}
	o.copies, o.used = o.copies[:0], 0
}

// flushFirst sends what the caller, if it is a callback, has gathered: it is for
// calls that must not overtake that.
func (c *Conn) flushFirst() {
	if c.inCallback() {
		c.reader.flush()
	}
}

// tell logs the error of a datagram whose send has returned already.
func (c *Conn) tell(err error) {
	if err != nil {
		c.log.warn(c, "udp: send failed", err)
	}
}
