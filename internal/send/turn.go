package send

import (
	"sync"
	"sync/atomic"
)

// A Turn is a mutex whose holder may sleep, for example while it waits for room in the
// kernel. A goroutine that waits for a Turn is durably blocked in the sense of
// [testing/synctest], unlike one that waits for a [sync.Mutex]. So the clock of a
// bubble advances.
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

// TryLock locks the mutex if it is free.
func (t *Turn) TryLock() bool { return t.taken.CompareAndSwap(false, true) }

// Unlock passes the mutex to a waiting goroutine, if any.
func (t *Turn) Unlock() {
	t.taken.Store(false)
	if t.waiting.Load() == 0 { // a goroutine that calls Lock from now on finds it free
		return
	}
	t.mu.Lock()
	t.free.Signal()
	t.mu.Unlock()
}
