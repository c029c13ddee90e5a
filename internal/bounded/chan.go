// Package bounded has a bounded channel with an overflow policy, which can be closed
// while other goroutines put values into it.
package bounded

import "sync"

// Overflow selects what happens to a value for which there is no room. Its values are
// those of udp.Overflow.
type Overflow int

const (
	Block      Overflow = iota // wait for room
	DropNewest                 // drop the value
	DropOldest                 // drop the one that has waited longest
)

// An Outcome reports what Put did with a value.
type Outcome int

const (
	Accepted Outcome = iota
	Dropped          // there was no room, or the channel has ended
	Canceled         // the wait for room was canceled
)

// A Chan is a bounded channel. Its owners put values into it and end it after the last of
// them. Others may put values into it at any time, between Enter and Leave.
type Chan[T any] struct {
	C        chan T // owners may also send to it as long as they need not wait
	Overflow Overflow
	evict    func(T)

	over   chan struct{} // closed when the Chan ends, to release those that wait for room
	ending sync.RWMutex  // guards ended; held by others than the owners while they put
	ended  bool          // C is closed
}

// Init makes c ready for use. evict is called for each value that was accepted and then
// dropped for another one, on the goroutine of Put.
func (c *Chan[T]) Init(capacity int, overflow Overflow, evict func(T)) {
	c.C, c.over = make(chan T, capacity), make(chan struct{})
	c.Overflow, c.evict = overflow, evict
}

// Full reports whether there is no room.
func (c *Chan[T]) Full() bool { return len(c.C) == cap(c.C) }

// Put puts v into the channel. canceled ends a wait for room; nil never does.
func (c *Chan[T]) Put(v T, canceled <-chan struct{}) Outcome {
	for {
		select {
		case c.C <- v:
			return Accepted
		default:
		}
		switch c.Overflow {
		case DropNewest:
			return Dropped
		case Block:
			return c.wait(v, canceled)
		}
		select {
		case old := <-c.C:
			c.evict(old)
		default:
		}
	}
}

func (c *Chan[T]) wait(v T, canceled <-chan struct{}) Outcome {
	select {
	case c.C <- v:
		return Accepted
	case <-canceled:
		return Canceled
	case <-c.over:
		return Dropped
	}
}

// Enter keeps the channel open until Leave. If the channel has ended, it returns false,
// and Leave must not be called.
func (c *Chan[T]) Enter() bool {
	c.ending.RLock()
	if c.ended {
		c.ending.RUnlock()
		return false
	}
	return true
}

// Leave follows Enter.
func (c *Chan[T]) Leave() { c.ending.RUnlock() }

// End closes the channel, after calls of Put that wait for room have returned. Values in
// the channel can still be received.
func (c *Chan[T]) End() {
	close(c.over)
	c.ending.Lock()
	defer c.ending.Unlock()
	c.ended = true
	close(c.C)
}
