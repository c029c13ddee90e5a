package udp

import (
	"runtime/debug"
	"sync"

	"github.com/udpkit/udp/internal/goid"
)

// runs says whether a goroutine is inside a callback, on the socket's own or in
// Workers.
func (c *Conn) runs(id uintptr) bool { return c.callback.Load() == id || c.work.has(id) }

// inCallback says whether the caller runs inside a callback on the socket's
// goroutine.
func (c *Conn) inCallback() bool { return c.callback.Load() == goid.ID() }

// waiting is for whose end goroutines wait. Callbacks of different sockets may
// close each other's, as those of a relay do, and would wait for ever.
var waiting struct {
	sync.Mutex
	on map[uintptr]*Conn
}

// mayWait says whether the caller may wait for the end of c, and notes that it
// does until arrived is called. It may not inside a callback of c, nor when one of
// c's waits itself for the end of a callback that the caller is inside of.
func (c *Conn) mayWait() (arrived func(), ok bool) {
	id := goid.ID()
	waiting.Lock()
	defer waiting.Unlock()
	if c.needs(id) {
		return nil, false
	}
	if waiting.on == nil {
		waiting.on = map[uintptr]*Conn{}
	}
	waiting.on[id] = c
	return func() {
		waiting.Lock()
		defer waiting.Unlock()
		delete(waiting.on, id)
	}, true
}

// needs says whether c can't end before the goroutine goes on. It needs waiting,
// which has no circles.
func (c *Conn) needs(id uintptr) bool {
	if c.runs(id) {
		return true
	}
	for other, on := range waiting.on {
		if c.runs(other) && on.needs(id) {
			return true
		}
	}
	return false
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
