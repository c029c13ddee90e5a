package life

import "sync/atomic"

// Work counts what is in progress, such as the datagrams of a socket that Workers have still
// to handle. The zero Work has none.
type Work struct {
	left atomic.Int64
	none atomic.Pointer[chan struct{}] // of Wait: gets a value when the count falls to 0
}

// Begin adds one.
func (w *Work) Begin() { w.left.Add(1) }

// End removes one that has ended.
func (w *Work) End() {
	if w.left.Add(-1) > 0 {
		return
	}
	if none := w.none.Load(); none != nil {
		select {
		case *none <- struct{}{}:
		default:
		}
	}
}

// Left returns how many there are.
func (w *Work) Left() int64 { return w.left.Load() }

// Wait waits until there are none, or until cut is closed. Only one goroutine may wait.
func (w *Work) Wait(cut <-chan struct{}) {
	none := make(chan struct{}, 1)
	w.none.Store(&none)
	for w.left.Load() > 0 {
		select {
		case <-none:
		case <-cut:
			return
		}
	}
}
