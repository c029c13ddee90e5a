package udp

import (
	"sync"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/goid"
	"github.com/udpkit/udp/internal/socket"
)

// An outbox gathers what a Handler sends while more datagrams of the same read
// wait to be handled, so that the answers to one read leave together. It belongs
// to the socket's goroutine, which has one only while there is something in it.
type outbox struct {
	messages []socket.Message
	copies   []*buffer.Buffer // of the payloads: callers may use theirs again
	used     int              // bytes of the last copy
}

// What an outbox holds at the most.
const (
	maxGathered = 512 // messages
	maxCopies   = 4   // buffers
)

var outboxes = sync.Pool{New: func() any { return new(outbox) }}

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
		r.tellFlush(r.flush())
		o = nil
	}
	if o == nil {
		o = outboxes.Get().(*outbox)
		r.outbox = o
	}
	o.add(m)
	if r.at == len(r.packets) {
		return r.flush()
	}
	return nil
}

func (o *outbox) fits(n int) bool {
	return len(o.messages) < maxGathered && (len(o.copies) < maxCopies || o.used+n <= buffer.Size)
}

func (o *outbox) add(m socket.Message) {
	if len(o.copies) == 0 || o.used+len(m.Data) > buffer.Size {
		o.copies = append(o.copies, buffer.Get())
		o.used = 0
	}
	space := o.copies[len(o.copies)-1].B[o.used:]
	n := copy(space, m.Data)
	m.Data = space[:n:n]
	o.used += n
	o.messages = append(o.messages, m)
}

// flush sends what was gathered. One that fails does not stop those after it;
// the error is of the first.
func (r *reader) flush() (first error) {
	o := r.outbox
	if o == nil {
		return nil
	}
	r.outbox = nil
	for ms := o.messages; len(ms) > 0; {
		n, err := r.sendAll(ms)
		if err != nil {
			n++
			if first == nil {
				first = err
			}
		}
		ms = ms[min(n, len(ms)):]
	}
	clear(o.messages)
	o.messages = o.messages[:0]
	for i, b := range o.copies {
		b.Release(1)
		o.copies[i] = nil
	}
	o.copies, o.used = o.copies[:0], 0
	outboxes.Put(o)
	return first
}

// flushOwn sends what the caller, if it is a callback, has gathered.
func (c *Conn) flushOwn() error {
	if c.inCallback() {
		return c.reader.flush()
	}
	return nil
}

// flushFirst is for calls that must not overtake what the caller has sent
// before.
func (c *Conn) flushFirst() { c.tellFlush(c.flushOwn()) }

// tellFlush logs the error of datagrams whose sends had returned already.
func (c *Conn) tellFlush(err error) {
	if err != nil {
		c.log.warn(c, "udp: send failed", err)
	}
}
