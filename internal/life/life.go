// Package life has the phases of a socket, from its creation to its end.
package life

import (
	"net"
	"sync"
	"sync/atomic"
)

// A Phase is a part of the life of a socket. It only grows.
type Phase int32

// The phases in order.
const (
	Running   Phase = iota
	Draining        // Shutdown: handle the queued datagrams, then stop
	Detaching       // Detach: handle the datagrams already read, then stop
	Stopping        // Close: handle nothing more
)

// Life is the life of one socket. Any goroutine may use it, after Init.
type Life struct {
	phase   atomic.Int32
	begin   sync.Once // closes closing
	closing chan struct{}
	done    chan struct{} // closed last

	// Outcome is written before End, and read after Done.
	Outcome
}

// Outcome is how a life ended.
type Outcome struct {
	Err      error        // what stopped the socket; nil: Close or Shutdown
	Detached *net.UDPConn // for Detach
	Kept     error        // why it could not be detached
}

// Init begins the life.
func (l *Life) Init() { l.closing, l.done = make(chan struct{}), make(chan struct{}) }

// Phase returns the phase.
func (l *Life) Phase() Phase { return Phase(l.phase.Load()) }

// Closed reports whether the socket is stopping or has stopped.
func (l *Life) Closed() bool { return l.Phase() == Stopping }

// Enter leaves Running for p. It returns false if another phase has begun.
func (l *Life) Enter(p Phase) bool { return l.phase.CompareAndSwap(int32(Running), int32(p)) }

// Close enters Stopping.
func (l *Life) Close() {
	l.phase.Store(int32(Stopping))
	l.begin.Do(func() { close(l.closing) })
}

// Closing returns a channel that Close closes.
func (l *Life) Closing() <-chan struct{} { return l.closing }

// End closes Done. It is called once.
func (l *Life) End() { close(l.done) }

// Done returns a channel that End closes.
func (l *Life) Done() <-chan struct{} { return l.done }
