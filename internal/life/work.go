package life

import "sync/atomic"

// Work counts the datagrams of a socket that somebody else has still to handle.
type Work struct {
	left atomic.Int64
	none chan struct{} // gets one when left comes down to 0
}

// Init makes w ready for use.
func (w *Work) Init() { w.none = make(chan struct{}, 1) }

// Begin adds a datagram.
func (w *Work) Begin() { w.left.Add(1) }

// End is called when one has been handled or dropped.
func (w *Work) End() {
	if w.left.Add(-1) == 0 {
		select {
		case w.none <- struct{}{}:
		default:
		}
	}
}

// Left returns how many there are now.
func (w *Work) Left() int64 { return w.left.Load() }

// Wait waits until none is left, or until cut is closed. No new one may come meanwhile.
func (w *Work) Wait(cut <-chan struct{}) {
	for w.left.Load() > 0 {
		select {
		case <-w.none:
		case <-cut:
			return
		}
	}
}
