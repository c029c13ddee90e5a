package udp

import (
	"net"
	"net/netip"
	"sync"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/goid"
	"github.com/udpkit/udp/internal/socket"
)

// An outbox gathers datagrams that leave together: those of a SendBatch, and what
// a Handler sends while more datagrams of the same read wait to be handled. That
// one belongs to the socket's goroutine, and is there only while it holds any.
//
// Neighbours of one destination become one message, a train, at once. Its bytes
// lie side by side, since the kernel takes a piece of memory for each datagram
// more slowly than short ones are copied. What a Handler sends is copied in any
// case: it may use its memory again. SendBatch waits, so there the first datagram
// of a train stays where its caller has it, and so do those that lie behind it.
type outbox struct {
	messages []socket.Message
	count    int              // datagrams in them
	trains   bool             // the socket takes them
	ended    bool             // nothing can be added to the last train
	lent     bool             // the last message lies in the caller's memory
	copies   []*buffer.Buffer // of the payloads
	used     int              // bytes of the last copy
}

// What an outbox holds at the most.
const (
	maxGathered = 1024 // datagrams
	maxCopies   = 4    // buffers
)

// copyUpTo is how long datagrams are, at most, that are copied to make a train;
// package sys makes trains of longer ones, with a piece of memory for each.
const copyUpTo = 4096

var outboxes = sync.Pool{New: func() any { return new(outbox) }}

func (c *Conn) newOutbox() *outbox {
	o := outboxes.Get().(*outbox)
	o.trains = c.sock.Segments() > 1
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
		o.add(m, false)
	}
	return r.flushLast()
}

// gatherMore is gather for what is so like the message before that nothing needs
// to be checked again. It returns false when it is not.
func (r *reader) gatherMore(b []byte, to netip.AddrPort, from netip.Addr, ecn ECN) bool {
	o := r.outbox
	if o == nil || o.ended || r.closed() {
		return false
	}
	last := &o.messages[len(o.messages)-1]
	if peer := r.peer.Load(); peer != nil { // the source is the system's choice
		if last.To != *peer || to.IsValid() && to != *peer {
			return false
		}
	} else if to != last.To || from != last.From {
		return false
	}
	return uint8(ecn) == last.ECN && last.IfIndex == 0 && last.TTL|last.TrafficClass == 0 && o.append(last, b)
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

// fits says whether there is room for one more datagram of n bytes.
func (o *outbox) fits(n int) bool {
	return o.count < maxGathered && (len(o.copies) < maxCopies || o.used+n <= buffer.Size)
}

// extend makes m a part of the last message, if it can be.
func (o *outbox) extend(m *socket.Message) bool {
	if o.ended || len(o.messages) == 0 {
		return false
	}
	last := &o.messages[len(o.messages)-1]
	return m.SameHeader(last) && o.append(last, m.Data)
}

// extendBy makes messages parts of the last one, up to one that can't be. What is
// like the message before it needs no second look.
func (o *outbox) extendBy(like *Message, ms []Message) (n int) {
	last := &o.messages[len(o.messages)-1]
	for n < len(ms) && !o.ended {
		n += o.run(last, like, ms[n:])
		if n == len(ms) || !ms[n].goesWith(like) || !o.append(last, ms[n].Data) {
			break
		}
		n++
	}
	return n
}

// run is append for messages that are all of one length, as most of a train are: a
// loop with nothing in it that is the same each time.
func (o *outbox) run(last *socket.Message, like *Message, ms []Message) (n int) {
	size := last.Segment
	if size == 0 {
		return 0 // it is no train yet
	}
	all, at := last.Data[:cap(last.Data)], len(last.Data)
	ms = ms[:min(len(ms), maxGathered-o.count, (len(all)-at)/size)]
	for n < len(ms) {
		m := &ms[n]
		if len(m.Data) != size || !m.goesWith(like) {
			break
		}
		if !o.lent {
			copy(all[at:], m.Data)
		} else if &all[at] != &m.Data[0] {
			break
		}
		at += size
		n++
	}
	if !o.lent {
		o.used += n * size
	}
	o.count += n
	last.Data = all[:at]
	return n
}

// append makes data a part of the last message, if there is room.
func (o *outbox) append(last *socket.Message, data []byte) bool {
	n, size := len(data), last.Segment
	if size == 0 {
		size = len(last.Data)
	}
	if n == 0 || n > size || o.count == maxGathered {
		return false
	}
	room := last.Data[len(last.Data):cap(last.Data)]
	switch {
	case !o.lent:
		if n > len(room) {
			return false
		}
		copy(room, data)
		o.used += n
	case n <= len(room) && &room[0] == &data[0]: // it lies there
	case size > copyUpTo || !o.own(last, n):
		return false
	default:
		return o.append(last, data)
	}
	last.Segment = size
	last.Data = last.Data[:len(last.Data)+n]
	o.count++
	o.ended = n < size
	return true
}

// own copies the last message, to make it longer by n bytes, if there is room.
func (o *outbox) own(last *socket.Message, n int) bool {
	space := o.space(len(last.Data) + n)
	if space == nil {
		return false
	}
	last.Data = space[:copy(space, last.Data)]
	o.used += len(last.Data)
	o.lent = false
	return true
}

// space is where n bytes can be copied to, and all behind it; nil if there is
// none, as for a message of the caller's memory that no buffer is as long as.
func (o *outbox) space(n int) []byte {
	if len(o.copies) == 0 || o.used+n > buffer.Size {
		if len(o.copies) == maxCopies || n > buffer.Size {
			return nil
		}
		o.copies = append(o.copies, buffer.Get())
		o.used = 0
	}
	return o.copies[len(o.copies)-1].B[o.used:]
}

// add takes a message that is a datagram, which fits. With lend its payload stays
// where it is.
func (o *outbox) add(m socket.Message, lend bool) {
	if o.lent = lend; !lend {
		space := o.space(len(m.Data))
		m.Data = space[:copy(space, m.Data)] // with room for more
		o.used += len(m.Data)
	}
	o.messages = append(o.messages, m)
	o.count++
	o.ended = !o.trains || len(m.Data) == 0
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
			n, err = r.sock.SendBatch(ms, true)
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
