package udp

import (
	"errors"
	"hash/maphash"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/goid"
)

// Workers is a [Handler] that spreads datagrams over goroutines, for handlers
// that take long or need more than one processor. Datagrams of one key are
// handled in the order of arrival, one at a time. It may serve several sockets.
//
// For the Handler behind it, this is different from a socket's own goroutine:
// Received is called at the same time for datagrams that different goroutines
// have got. Refused is called on the socket's goroutine, so beside Received too.
// Started and Stopped come first and last as ever. A panic in Received is
// survived and counted in [Drops.Panicked].
//
// A Handler may also pass on to Workers what other sockets have received: Received
// is called with the socket that the datagram came by. What comes while the Workers
// have no socket of their own is dropped, and counted in [Drops.Queue]. For a
// datagram that came by no socket Received is called with a nil Conn, and a panic
// in it is survived, but there is nowhere to count it.
//
// Close and Shutdown called from inside Received return at once, as they do
// from inside any callback. Shutdown handles what waits in Workers before the
// socket closes; Close drops it, and counts it in [Drops.Closed].
//
// The goroutines start with the first socket and have ended when the last one
// has stopped.
type Workers struct {
	// Capacity is how many datagrams may wait for each goroutine; 0 is 256. It
	// must not be changed once a socket uses the Workers.
	Capacity int
	// Overflow says what becomes of a datagram when that many wait already: by
	// default the socket waits. It must not be changed either.
	Overflow Overflow

	n       int
	key     func(Datagram) uint64
	handler Handler

	mu      sync.Mutex
	sockets int
	crew    atomic.Pointer[crew] // of the sockets there are now
	closed  line                 // while there are none
}

var _ Handler = (*Workers)(nil)

const defaultLine = 256

// NewWorkers makes Workers with n goroutines, at least one, that call h. The key
// of a datagram says whose order is kept: nil is the sender's address and port.
// A key is called on the socket's goroutine and must not keep the datagram. It
// panics when h is nil.
func NewWorkers(n int, key func(Datagram) uint64, h Handler) *Workers {
	if h == nil {
		panic("udp: NewWorkers: nil Handler")
	}
	return &Workers{n: max(n, 1), key: key, handler: h, closed: line{working: true, ended: true}}
}

// Started implements [Handler].
func (w *Workers) Started(c *Conn) {
	w.mu.Lock()
	if w.sockets++; w.sockets == 1 {
		w.crew.Store(newCrew(w))
	}
	c.work.employ(w.crew.Load())
	w.mu.Unlock()
	c.noticeWorkers()
	w.handler.Started(c)
}

// Received implements [Handler].
func (w *Workers) Received(c *Conn, d Datagram) {
	crew := w.crew.Load()
	if crew == nil {
		w.closed.put(c, &d, nil)
		return
	}
	by := d.conn
	if by == nil {
		by = c
	}
	if by != nil && by.handler != Handler(w) && by.work.employ(crew) {
		by.noticeWorkers()
	}
	crew.choose(d).put(c, &d, w)
}

// Refused implements [Handler].
func (w *Workers) Refused(c *Conn, r *Refusal) { w.handler.Refused(c, r) }

// Stopped implements [Handler]. The socket's datagrams have left the Workers
// before it is called.
func (w *Workers) Stopped(c *Conn, err error) {
	defer w.dismiss()
	w.handler.Stopped(c, err)
}

// dismiss ends the goroutines after the last socket.
func (w *Workers) dismiss() {
	w.mu.Lock()
	var crew *crew
	if w.sockets--; w.sockets == 0 {
		crew = w.crew.Swap(nil)
	}
	w.mu.Unlock()
	if crew != nil {
		crew.end()
	}
}

// crew is a set of goroutines, each with a line of its own.
type crew struct {
	handler Handler
	key     func(Datagram) uint64
	seed    maphash.Seed
	lines   []line
	ids     []atomic.Uintptr // goids
	running sync.WaitGroup
	gone    atomic.Bool // its goroutines have ended
}

func newCrew(w *Workers) *crew {
	capacity := w.Capacity
	if capacity <= 0 {
		capacity = defaultLine
	}
	c := &crew{handler: w.handler, key: w.key, seed: maphash.MakeSeed(),
		lines: make([]line, w.n), ids: make([]atomic.Uintptr, w.n)}
	c.running.Add(w.n)
	for i := range c.lines {
		l := &c.lines[i]
		l.ch, l.over = make(chan Datagram, capacity), make(chan struct{})
		l.overflow, l.whole, l.working = w.Overflow, max(1, wholeBuffers/w.n), true
		go c.work(i)
	}
	return c
}

// choose finds the line of d's key.
func (c *crew) choose(d Datagram) *line {
	var sum uint64
	if c.key == nil {
		sum = maphash.Comparable(c.seed, d.From)
	} else {
		sum = maphash.Comparable(c.seed, c.key(d)) // keys may be small numbers
	}
	return &c.lines[sum%uint64(len(c.lines))]
}

// work is goroutine i.
func (c *crew) work(i int) {
	c.ids[i].Store(goid.ID())
	over := false
	defer func() {
		c.ids[i].Store(0)
		if over {
			c.running.Done()
		} else {
			go c.work(i) // Received has called runtime.Goexit
		}
	}()
	for d := range c.lines[i].ch {
		c.handle(d)
	}
	over = true
}

var errWorkerGoexit = errors.New("runtime.Goexit")

func (c *crew) handle(d Datagram) {
	conn := d.conn
	if conn == nil { // somebody has made it
		c.handleMade(d)
		return
	}
	if conn.closed() {
		d.count(dropClosed)
		d.Release()
		conn.work.end()
		return
	}
	returned := false
	defer func() {
		if v := recover(); !returned {
			if v == nil {
				v = errWorkerGoexit
			}
			conn.stats.dropped[dropPanicked].Add(1)
			conn.stats.panics.Add(1)
			conn.log.panicked(conn, "Received", v, debug.Stack())
		}
		d.Release()
		conn.work.end()
	}()
	c.handler.Received(conn, d)
	returned = true
	conn.stats.handled.Add(1)
}

// handleMade is for a datagram that no socket counts.
func (c *crew) handleMade(d Datagram) {
	defer func() {
		_ = recover() // nor is there a Logger
		d.Release()
	}()
	c.handler.Received(nil, d)
}

func (c *crew) end() {
	for i := range c.lines {
		c.lines[i].end()
	}
	c.running.Wait()
	c.gone.Store(true)
}

// work is what a socket knows about Workers that have its datagrams.
type work struct {
	mu    sync.Mutex
	crews []*crew

	left atomic.Int64  // datagrams that wait or are being handled
	none chan struct{} // gets one when left comes down to 0
}

// employ says whether the socket had not given the crew a datagram before.
func (w *work) employ(c *crew) (first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.crews, c) {
		return false
	}
	if w.none == nil { // an idle socket without Workers is to be small
		w.none = make(chan struct{}, 1)
	}
	crews := []*crew{c}
	for _, old := range w.crews {
		if !old.gone.Load() {
			crews = append(crews, old)
		}
	}
	w.crews = crews
	return true
}

func (w *work) begin() { w.left.Add(1) }

func (w *work) end() {
	if w.left.Add(-1) == 0 {
		select {
		case w.none <- struct{}{}:
		default:
		}
	}
}

// wait waits until no datagram is left, or until cut is closed. No new one may
// come meanwhile.
func (w *work) wait(cut <-chan struct{}) {
	for w.left.Load() > 0 {
		select {
		case <-w.none:
		case <-cut:
			return
		}
	}
}

// goroutines are those of the Workers.
func (w *work) goroutines(yield func(uintptr) bool) {
	w.mu.Lock()
	crews := w.crews // never changed, but replaced
	w.mu.Unlock()
	for _, c := range crews {
		for i := range c.ids {
			if id := c.ids[i].Load(); id != 0 && !yield(id) {
				return
			}
		}
	}
}
