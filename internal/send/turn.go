package send

import (
	"sync"
	"sync/atomic"
)

// A Turn is a mutex whose holder may sleep, as one does that waits for room in the
// kernel. Unlike a [sync.Mutex], whoever waits for it is durably blocked in the sense
// of [testing/synctest], so that the clock of a bubble advances.
type Turn struct {
	taken   atomic.Bool
	waiting atomic.Int32 // in Lock, or on the way
	mu      sync.Mutex
	free    sync.Cond
}

// Lock waits for the mutex.
func (t *Turn) Lock() {
	if t.TryLock() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free.L = &t.mu
	t.waiting.Add(1)
	for !t.TryLock() {
		t.free.Wait()
	}
	t.waiting.Add(-1)
}

// TryLock locks if nobody else has.
func (t *Turn) TryLock() bool { return t.taken.CompareAndSwap(false, true) }

// Unlock gives the mutex to the next.
func (t *Turn) Unlock() {
	t.taken.Store(false)
	if t.waiting.Load() == 0 { // whoever comes now finds it free
		return
	}
	t.mu.Lock()
	t.free.Signal()
	t.mu.Unlock()
}
