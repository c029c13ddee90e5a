package udp

import "sync"

// turn is a mutex whose holder may sleep, as one does that waits for room in the
// kernel. Unlike a [sync.Mutex], whoever waits for it is durably blocked in the sense
// of [testing/synctest], so that the clock of a bubble advances.
type turn struct {
	mu    sync.Mutex // guards what follows
	free  sync.Cond
	taken bool
}

func (t *turn) Lock() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.taken {
		t.free.L = &t.mu
		t.free.Wait()
	}
	t.taken = true
}

func (t *turn) TryLock() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.taken
	t.taken = true
	return !was
}

func (t *turn) Unlock() {
	t.mu.Lock()
	t.taken = false
	t.mu.Unlock()
	t.free.Signal()
}
