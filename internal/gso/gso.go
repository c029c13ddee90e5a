// Package gso builds batches of datagrams to send. Consecutive datagrams to one
// destination with one header become one segmented send (UDP_SEGMENT, Linux 4.18):
// a message with adjacent payloads, which the kernel divides into segments.
//
// Segments are copied next to each other, because copying short ones is faster than
// an iovec for each.
package gso

import (
	"sync"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// Limits of a Batch.
const (
	MaxDatagrams = 1024
	maxCopies    = 4        // buffers
	maxSegment   = 16 << 10 // bytes: fewer than four longer ones fit into one send
)

// A Batch is a list of messages in the order of sending. It is used by one
// goroutine at a time.
type Batch struct {
	Messages []socket.Message

	count    int              // datagrams in Messages
	segments bool             // the socket takes segmented sends
	complete bool             // the last message takes no further segment
	lent     bool             // the last message is in the caller's memory
	copies   []*buffer.Buffer // of payloads
	used     int              // bytes of the last copy
}

var batches = sync.Pool{New: func() any { return new(Batch) }}

// Get returns an empty Batch. segments reports whether the socket supports
// segmented sends.
func Get(segments bool) *Batch {
	b := batches.Get().(*Batch)
	b.segments = segments
	return b
}

// Put returns a Batch to the pool. Its messages must not be used afterwards.
func (b *Batch) Put() {
	b.Reset()
	batches.Put(b)
}

// Reset empties b.
func (b *Batch) Reset() {
	clear(b.Messages)
	b.Messages, b.count = b.Messages[:0], 0
	for i, c := range b.copies {
		c.Release(1)
		b.copies[i] = nil
	}
	b.copies, b.used = b.copies[:0], 0
}

// Len returns how many datagrams b holds.
func (b *Batch) Len() int { return b.count }

// Full reports whether b has no room for the copy of another datagram of n bytes.
func (b *Batch) Full(n int) bool {
	return b.count >= MaxDatagrams || len(b.copies) == maxCopies && b.used+n > buffer.Size
}

// Copy adds a copy of m, a single datagram, for which there must be room.
func (b *Batch) Copy(m *socket.Message) {
	if b.extends(m) && b.Append(m.Data) {
		return
	}
	space := b.space(len(m.Data))
	b.used += len(m.Data)
	b.add(m)
	b.Messages[len(b.Messages)-1].Data = space[:copy(space, m.Data)] // with room for more
	b.lent = false
}

// Lend adds m, a single datagram, without a copy. Its payload must not change until
// the batch has been sent.
func (b *Batch) Lend(m *socket.Message) {
	if b.extends(m) && b.Append(m.Data) {
		return
	}
	b.add(m)
	b.lent = true
}

func (b *Batch) add(m *socket.Message) {
	b.Messages = append(b.Messages, *m)
	b.count++
	b.complete = !b.segments || len(m.Data) == 0
}

// extends reports whether m may be a segment of the last message.
func (b *Batch) extends(m *socket.Message) bool {
	if b.complete || len(b.Messages) == 0 {
		return false
	}
	return b.Last().SameHeader(m)
}

// Last returns the message that was added last. There must be one.
func (b *Batch) Last() *socket.Message { return &b.Messages[len(b.Messages)-1] }

// Open reports whether Append may succeed.
func (b *Batch) Open() bool { return !b.complete && len(b.Messages) > 0 }

// Append makes data a segment of the last message, if the message is open and there
// is room. The caller guarantees that the headers are the same.
func (b *Batch) Append(data []byte) bool {
	last := b.Last()
	n, size := len(data), last.Segment
	if size == 0 {
		size = len(last.Data)
	}
	if b.complete || n == 0 || n > size || b.count == MaxDatagrams {
		return false
	}
	room := last.Data[len(last.Data):cap(last.Data)]
	switch {
	case !b.lent:
		if n > len(room) {
			return false
		}
		copy(room, data)
		b.used += n
	case n <= len(room) && &room[0] == &data[0]: // it is there already
	case size > maxSegment || !b.own(last, n):
		return false
	default:
		return b.Append(data)
	}
	last.Segment = size
	last.Data = last.Data[:len(last.Data)+n]
	b.count++
	b.complete = n < size // only the last segment may be shorter
	return true
}

// own copies the last message to make it longer by n bytes, if there is room.
func (b *Batch) own(last *socket.Message, n int) bool {
	space := b.space(len(last.Data) + n)
	if space == nil {
		return false
	}
	last.Data = space[:copy(space, last.Data)]
	b.used += len(last.Data)
	b.lent = false
	return true
}

// space returns room for n bytes, with the rest of its buffer as capacity, or nil
// if there is none.
func (b *Batch) space(n int) []byte {
	if len(b.copies) == 0 || b.used+n > buffer.Size {
		if len(b.copies) == maxCopies || n > buffer.Size {
			return nil
		}
		b.copies = append(b.copies, buffer.Get())
		b.used = 0
	}
	return b.copies[len(b.copies)-1].B[b.used:]
}

// Skip removes the first n datagrams of ms. It returns the rest, and the bytes of
// payload removed.
func Skip(ms []socket.Message, n int) (rest []socket.Message, bytes int) {
	for n > 0 {
		m := &ms[0]
		all := m.Datagrams()
		if n < all {
			cut := n * m.Segment
			m.Data = m.Data[cut:]
			return ms, bytes + cut
		}
		n -= all
		bytes += len(m.Data)
		ms = ms[1:]
	}
	return ms, bytes
}

// First returns the first datagram of ms as a message.
func First(ms []socket.Message) socket.Message {
	one := ms[0]
	if one.Segment > 0 {
		one.Data, one.Segment = one.Data[:min(one.Segment, len(one.Data))], 0
	}
	return one
}
