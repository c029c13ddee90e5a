package life

import "sync/atomic"

// Work counts the datagrams of a socket that Workers have still to handle.
type Work struct {
	left atomic.Int64
	none chan struct{} // gets a value when the count falls to 0
}

// Init makes w ready for use.
func (w *Work) Init() { w.none = make(chan struct{}, 1) }

// Begin adds a datagram.
func (w *Work) Begin() { w.left.Add(1) }

// End removes a datagram that was handled or dropped.
func (w *Work) End() {
	if w.left.Add(-1) == 0 {
		select {
		case w.none <- struct{}{}:
		default:
		}
	}
}

// Left returns the number of datagrams.
func (w *Work) Left() int64 { return w.left.Load() }

// Wait waits until there are none, or until cut is closed. Begin must not be called
// meanwhile.
func (w *Work) Wait(cut <-chan struct{}) {
	for w.left.Load() > 0 {
		select {
		case <-w.none:
		case <-cut:
			return
		}
	}
}
