package udp

import (
	"iter"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/udpkit/udp/internal/goid"
)

// runs says whether a goroutine is inside a callback, on the socket's own or in
// Workers.
func (c *Conn) runs(id uintptr) bool {
	for g := range c.goroutines() {
		if g == id {
			return true
		}
	}
	return false
}

// inCallback says whether the caller runs inside a callback on the socket's
// goroutine.
func (c *Conn) inCallback() bool { return c.callback.Load() == goid.ID() }

// waiting is for whose end goroutines wait. Callbacks of different sockets may
// close each other's, as those of a relay do, and would wait for ever.
var waiting struct {
	sync.Mutex
	on map[uintptr]waiter
}

type waiter struct {
	conn   *Conn
	enough chan struct{} // closed when it must not wait any more
}

// wait waits for the end of c, or of also. It returns false, at once or later, for
// whom the end waits itself: inside a callback of c, and inside one that a callback
// of c is waiting for.
func (c *Conn) wait(also <-chan struct{}) bool {
	id := goid.ID()
	waiting.Lock()
	if c.needs(id, nil) {
		waiting.Unlock()
		return false
	}
	if waiting.on == nil {
		waiting.on = map[uintptr]waiter{}
	}
	enough := make(chan struct{})
	waiting.on[id] = waiter{c, enough}
	waiting.Unlock()
	defer func() {
		waiting.Lock()
		delete(waiting.on, id)
		waiting.Unlock()
	}()
	select {
	case <-c.done:
	case <-also:
	case <-enough:
		return false
	}
	return true
}

// needs says whether c can't end before the goroutine goes on. It needs waiting.
func (c *Conn) needs(id uintptr, seen []*Conn) bool {
	if c.runs(id) {
		return true
	}
	for g := range c.goroutines() {
		if w, ok := waiting.on[g]; ok && !slices.Contains(seen, w.conn) && w.conn.needs(id, append(seen, c)) {
			return true
		}
	}
	return false
}

// noticeWorkers is for a socket that has given Workers a datagram for the first
// time: it can't end without them any more, so none of them may wait for that.
func (c *Conn) noticeWorkers() {
	waiting.Lock()
	defer waiting.Unlock()
	for id, w := range waiting.on {
		if w.conn.needs(id, nil) {
			select {
			case <-w.enough:
			default:
				close(w.enough)
			}
		}
	}
}

// goroutines are those that run callbacks of c.
func (c *Conn) goroutines() iter.Seq[uintptr] {
	return func(yield func(uintptr) bool) {
		if id := c.callback.Load(); id == 0 || yield(id) {
			c.work.goroutines(yield)
		}
	}
}

// post runs f on the socket's goroutine, where callbacks run; never, when the
// socket has stopped.
func (c *Conn) post(f func()) {
	c.mu.Lock()
	c.events = append(c.events, f)
	c.mu.Unlock()
	c.sock.Wake()
}

// guard calls f, a callback, and survives its panic.
func (c *Conn) guard(name string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(name, v)
		}
	}()
	f()
}

func (c *Conn) panicked(callback string, v any) {
	c.stats.panics.Add(1)
	c.log.panicked(c, callback, v, debug.Stack())
}
