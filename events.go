package udp

import "sync"

// events are functions that wait to run on a socket's goroutine, where callbacks
// run. Any goroutine may add one.
type events struct {
	posted chan struct{} // gets one when there is something to do: the reader may be waiting

	mu      sync.Mutex // guards what follows
	waiting []func()
	met     int // of waiting: ICMP errors that sends have met
	ended   bool
}

// maxMet bounds the ICMP errors that sends have met and that wait for a callback.
const maxMet = 1 << 14

// post adds f, which never runs if the socket has stopped.
func (e *events) post(f func()) {
	e.mu.Lock()
	e.waiting = append(e.waiting, f)
	e.mu.Unlock()
	e.signal()
}

// postMet adds f, which reports an ICMP error. It returns false if too many wait.
func (e *events) postMet(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended || e.met == maxMet {
		return false
	}
	e.met++
	e.waiting = append(e.waiting, func() {
		e.mu.Lock()
		e.met--
		e.mu.Unlock()
		f()
	})
	return true
}

// signal ends a pause of the reader.
func (e *events) signal() {
	select {
	case e.posted <- struct{}{}:
	default:
	}
}

// take returns the events there are now.
func (e *events) take() []func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	fs := e.waiting
	e.waiting = nil
	return fs
}

func (e *events) some() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.waiting) > 0
}

// dropMet ends the events and returns how many ICMP errors nobody hears of.
func (e *events) dropMet() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	n := e.met
	e.met = 0
	return n
}

// post runs f on the socket's goroutine.
func (c *Conn) post(f func()) {
	c.events.post(f)
	c.sock.Wake()
}
