package udp

import (
	"fmt"
	"sync"
)

// Overflow says what becomes of a datagram for which there is no room.
type Overflow int

const (
	// Block waits for room, while the kernel's buffer takes what arrives and drops
	// what it can't (Stats.KernelDrops).
	Block Overflow = iota
	// DropNewest drops the datagram that has just been read.
	DropNewest
	// DropOldest drops the one that has waited longest.
	DropOldest
)

// String returns the name of the policy.
func (o Overflow) String() string {
	switch o {
	case Block:
		return "Block"
	case DropNewest:
		return "DropNewest"
	case DropOldest:
		return "DropOldest"
	}
	return fmt.Sprintf("Overflow(%d)", int(o))
}

// Queue is a [Handler] that puts datagrams into a channel: the ordinary way to
// consume them. It may serve several sockets, one after another too, as long as
// not all of them have stopped. What a Handler passes on to it after that is
// dropped, and counted in [Drops.Queue] or Stats.RefusalsLost.
//
// A datagram out of the channel belongs to who received it: see
// [Datagram.Release]. While more than 64 wait, those of up to 16 KiB are moved
// into short buffers of 2 or 16 KiB, unless they fill much of the buffer that
// they share: a full Queue holds a few times as much memory as its datagrams
// are long, and 4 MiB.
type Queue struct {
	line     line
	refusals chan *Refusal
	done     chan struct{}

	mu      sync.Mutex
	sockets int
	ended   bool
	err     error
	owners  []refused // of refusals that may lie in the channel, a ring
	owner   int       // the oldest of owners
}

// refused is a refusal, and the socket that it is about.
type refused struct {
	r    *Refusal
	conn *Conn
}

var _ Handler = (*Queue)(nil)

// NewQueue makes a Queue for capacity datagrams, at least one. It panics when
// overflow is none of the three policies.
func NewQueue(capacity int, overflow Overflow) *Queue {
	if overflow < Block || overflow > DropOldest {
		panic("udp: NewQueue: " + overflow.String())
	}
	capacity = max(capacity, 1)
	return &Queue{
		line: line{ch: make(chan Datagram, capacity), overflow: overflow, whole: wholeBuffers,
			over: make(chan struct{})},
		refusals: make(chan *Refusal, min(capacity, maxRefusals)),
		done:     make(chan struct{}),
	}
}

const maxRefusals = 256

// Datagrams returns the channel. It is closed once the last of the Queue's
// sockets has stopped; what lies in it then can still be received.
func (q *Queue) Datagrams() <-chan Datagram { return q.line.ch }

// Refusals returns a channel of what [Handler.Refused] would get. It keeps the
// newest 256, or as many as the Queue's capacity if that is less, so nobody has
// to receive them. It is closed with Datagrams.
func (q *Queue) Refusals() <-chan *Refusal { return q.refusals }

// Done is closed once the last of the Queue's sockets has stopped.
func (q *Queue) Done() <-chan struct{} { return q.done }

// Err returns the first error that stopped one of the sockets; nil if none did.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

func (q *Queue) finished() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}

// Started implements [Handler]. It closes c when the Queue has ended meanwhile.
func (q *Queue) Started(c *Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		c.stop()
		return
	}
	q.sockets++
}

// Received implements [Handler]. It puts d into the channel: it calls Retain, so
// that a Handler which passes d on from its own Received need not.
func (q *Queue) Received(c *Conn, d Datagram) { q.line.put(c, &d, q) }

// Refused implements [Handler]. When nobody takes refusals the oldest is dropped
// for r, and counted in the Stats.RefusalsLost of the socket that it was about.
func (q *Queue) Refused(c *Conn, r *Refusal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.ended {
		select {
		case q.refusals <- r:
			q.own(refused{r, c})
			return
		default:
		}
		select {
		case old := <-q.refusals:
			q.ownerOf(old).lostRefusal()
		default:
		}
	}
	c.lostRefusal()
}

// own remembers whose a refusal is that was put into the channel, as long as it may
// lie there.
func (q *Queue) own(r refused) {
	if len(q.owners) < cap(q.refusals) {
		q.owners = append(q.owners, r)
		return
	}
	q.owners[q.owner] = r
	q.owner = (q.owner + 1) % len(q.owners)
}

// ownerOf returns the socket of a refusal that lay in the channel.
func (q *Queue) ownerOf(r *Refusal) *Conn {
	for i := range q.owners {
		if o := q.owners[(q.owner+i)%len(q.owners)]; o.r == r {
			return o.conn
		}
	}
	return nil
}

// lostRefusal counts a refusal that nobody will get.
func (c *Conn) lostRefusal() {
	if c != nil {
		c.stats.refusalsLost.Add(1)
	}
}

// Stopped implements [Handler].
func (q *Queue) Stopped(_ *Conn, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	if q.err == nil {
		q.err = err
	}
	if q.sockets--; q.sockets == 0 {
		q.ended, q.owners = true, nil
		q.line.end()
		close(q.refusals)
		close(q.done)
	}
}
