package udp

import (
	"runtime/debug"

	"github.com/udpkit/udp/internal/goid"
)

// inside says whether the caller runs inside a callback, on the socket's
// goroutine or in Workers.
func (c *Conn) inside() bool {
	id := goid.ID()
	return c.callback.Load() == id || c.work.has(id)
}

// inCallback says whether the caller runs inside a callback on the socket's
// goroutine.
func (c *Conn) inCallback() bool { return c.callback.Load() == goid.ID() }

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
