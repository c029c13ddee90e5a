package udp

import (
	"sync"
	"sync/atomic"
)

// turn is a mutex whose holder may sleep, as one does that waits for room in the
// kernel. Unlike a [sync.Mutex], whoever waits for it is durably blocked in the sense
// of [testing/synctest], so that the clock of a bubble advances.
type turn struct {
	taken   atomic.Bool
	waiting atomic.Int32 // in Lock, or on the way
	mu      sync.Mutex
	free    sync.Cond
}

func (t *turn) Lock() {
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

func (t *turn) TryLock() bool { return t.taken.CompareAndSwap(false, true) }

func (t *turn) Unlock() {
	t.taken.Store(false)
	if t.waiting.Load() == 0 { // whoever comes now finds it free
		return
	}
	t.mu.Lock()
	t.free.Signal()
	t.mu.Unlock()
}
