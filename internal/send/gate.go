package send

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp/internal/life"
)

// A gate keeps the peer from changing during a send that names its destination. On a
// connected socket the system sends everything to the peer. So a destination that was
// compared with the old peer must not be sent to the new one.
type gate struct {
	sends  life.Work   // in progress
	closed atomic.Bool // the peer is changing
	change Turn        // held while closed
}

// longestHold is how long a change of the peer waits for sends in progress. A send can
// wait for room for as long as a device takes, and a change of the peer may be the remedy.
const longestHold = 50 * time.Millisecond

// close makes sends wait, and waits for those in progress.
func (g *gate) close() {
	g.change.Lock()
	g.closed.Store(true)
	if g.sends.Left() == 0 {
		return
	}
	over := make(chan struct{})
	t := time.AfterFunc(longestHold, func() { close(over) })
	defer t.Stop()
	g.sends.Wait(over)
}

func (g *gate) open() {
	g.closed.Store(false)
	g.change.Unlock()
}

// await waits until the gate is open.
func (g *gate) await() {
	g.change.Lock()
	defer g.change.Unlock()
}

// Steady returns the peer, which stays the peer until Leave, or nil if there is none. A
// send that names its destination, and is checked outside Outbox.sending, needs it.
func (s *Sender) Steady() *netip.AddrPort {
	for s.Peer.Load() != nil {
		s.gate.sends.Begin()
		peer := s.Peer.Load()
		if peer != nil && !s.gate.closed.Load() {
			return peer
		}
		s.gate.sends.End()
		s.gate.await()
	}
	return nil
}

// Leave follows Steady, with its result.
func (s *Sender) Leave(peer *netip.AddrPort) {
	if peer != nil {
		s.gate.sends.End()
	}
}

// Hold sends the pending messages, and runs f, which changes the peer, while no other
// goroutine can add or send any.
func (o *Outbox) Hold(f func() error) error {
	o.gate.close()
	o.sending.Lock()
	failed := o.sendAll(WaitForRoom)
	o.mu.Lock()
	err := net.ErrClosed
	if o.blocked == nil { // otherwise they are the old peer's, and Stop sends them
		err = f()
	}
	o.mu.Unlock()
	o.sending.Unlock()
	o.gate.open()
	o.report(failed)
	return err
}
