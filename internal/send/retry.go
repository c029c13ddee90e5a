package send

import (
	"net"
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// Bounds for repeating a send. One repetition is not always enough, because ICMP
// errors for other goroutines' datagrams may arrive between two tries.
const (
	maxStale   = 64 // after errors that cannot be this datagram's own
	maxPauses  = 16 // pauses of a millisecond after that, while the reader takes older errors
	maxDoubted = 8  // after errors that may be this datagram's own
	maxPause   = 32 * time.Millisecond
	maxFull    = time.Second // pauses in total while the interface's queue is full
)

// Patience selects what a send waits for.
type Patience int

// From the least to the most.
const (
	TryOnce     Patience = iota // nothing: the reader never sleeps in a send
	WaitForRoom                 // room in the socket's buffer
	Patient                     // also room in the queue of the interface
)

// Again continues a send that failed with err. It classifies the error, and repeats
// the send as long as the error may be an older datagram's or temporary. A datagram
// has not been sent when its send returns an error. Later reports that the send
// would have to wait and must not; the error shows for what.
func (s *Sender) Again(m socket.Message, err error, how Patience) (result error, later bool) {
	r := retry{Sender: s, m: m, how: how, taken: s.reportsTaken(), reported: s.Socket.ErrorPending()}
	for {
		class, sized := r.classify(err)
		if sized != nil {
			return sized, false
		}
		switch next, final := r.judge(class, err); next {
		case fail:
			return final, false
		case wait:
			return err, true
		}
		if s.Life.Closed() && !s.final.Load() {
			return net.ErrClosed, false
		}
		if class != sys.Again && class != sys.NoBuffers { // those waited for room
			s.Stats.Retried.Add(1)
		}
		last := err
		if err = r.once(); err == nil {
			if class == sys.Unreachable || class == sys.TooLarge {
				s.reportedBySend(last) // the error was an older datagram's
			}
			s.Stats.CountSent(1, len(m.Data))
			return nil, false
		}
	}
}

// retry is one send that is repeated.
type retry struct {
	*Sender
	m   socket.Message
	how Patience

	stale, doubted int           // repetitions, as their bounds above
	full           time.Duration // of pauses for room
	taken          uint64        // ICMP errors taken when the error was first returned
	reported       bool          // an older datagram's error was pending when the last send began
}

// next is the action after an error.
type next int

const (
	repeat next = iota
	fail
	wait // leave the datagram to another sender: this one must not wait
)

// classify returns the class of err. For a datagram that is too large it also
// returns the final error, if repeating cannot help.
func (r *retry) classify(err error) (sys.Class, error) {
	class := sys.Classify(err)
	if class != sys.TooLarge {
		return class, nil
	}
	// The path's MTU shows whether the error is this datagram's own.
	fits, mtu := r.fits(&r.m)
	switch size := len(r.m.Data); {
	case fits > 0 && size <= fits && r.hears() && r.stale < 2*maxStale:
		class = sys.Report
	case fits > 0 && r.NoFragments:
		return class, r.TooLarge(size, fits, mtu)
	}
	return class, nil
}

// judge decides the action after an error. Before it returns repeat, it pauses.
// With fail it returns the datagram's error.
func (r *retry) judge(class sys.Class, err error) (next, error) {
	switch class {
	case sys.Deadline:
		if r.Life.Closed() { // Close ends waiting sends with a deadline
			err = net.ErrClosed
		}
		return fail, err
	case sys.Report:
		return r.older(err)
	case sys.Unreachable, sys.TooLarge, sys.Denied, sys.Other:
		if r.doubt(class) {
			return repeat, nil
		}
		return fail, r.own(class, err)
	case sys.NoPeer:
		// A Reconnect has removed the old peer and not set the new one yet.
		if r.Peer.Load() == nil || r.m.To.IsValid() || r.stale == maxStale {
			return fail, err
		}
		if r.stale++; r.stale > 1 && r.how != TryOnce {
			return r.sleep(time.Millisecond)
		}
		return repeat, nil
	case sys.Again, sys.NoBuffers:
		return r.noRoom(class, err)
	}
	return fail, err
}

// older is judge for the ICMP error of an older datagram.
func (r *retry) older(err error) (next, error) {
	if r.stale == maxPauses*maxStale {
		return fail, err
	}
	if r.stale > 0 && r.stale%maxStale == 0 {
		// The reader is emptying a long error queue. Each entry that it takes makes
		// the error of the next one pending. The pause lets it finish.
		if r.how == TryOnce {
			return wait, nil
		}
		if next, err := r.sleep(time.Millisecond); next == fail {
			return fail, err
		}
	}
	r.stale++
	r.reportedBySend(err)
	return repeat, nil
}

// doubt reports whether an error may be an older datagram's ICMP error, and not
// this datagram's missing route or length.
func (r *retry) doubt(class sys.Class) bool {
	switch {
	case class == sys.Denied && r.Stats.Sent.Load() == 0 && r.doubted == 0:
		r.doubted++ // the first send of a socket: https://go.dev/issue/63322
	case !r.hears(), class == sys.Denied, class == sys.Other && !r.reported:
		return false
	case r.reported && r.stale < maxStale:
		r.stale++ // each pending error may be returned once
	case r.doubted < maxDoubted && !(r.doubted > 0 && r.confirmed()):
		r.doubted++
	default:
		return false
	}
	return true
}

// noRoom is judge when the interface's queue is full, or the socket could not wait
// for room itself. A datagram to a group or broadcast address is not repeated,
// because this host's copy may have been delivered already.
func (r *retry) noRoom(class sys.Class, err error) (next, error) {
	switch {
	case class == sys.NoBuffers && (r.how != Patient || r.many(r.m.To)), r.full >= maxFull:
		return fail, err
	case r.how == TryOnce:
		return wait, nil
	}
	pause := min(max(r.full, time.Millisecond), maxPause)
	r.full += pause
	return r.sleep(pause)
}

// sleep waits before a send is repeated. It fails when the deadline or a Close is
// first.
func (r *retry) sleep(d time.Duration) (next, error) {
	if err := r.pause(d); err != nil {
		return fail, err
	}
	return repeat, nil
}

// once sends the datagram once. It waits for room only if the caller may wait.
func (r *retry) once() error {
	r.reported = r.Socket.ErrorPending()
	if r.how != TryOnce {
		return r.Socket.Send(r.m)
	}
	_, err := r.Socket.SendBatch([]socket.Message{r.m}, false)
	return err
}

// confirmed reports whether an error that was returned twice is the datagram's own.
// That needs two conditions: no ICMP error arrived in between, and there is no
// route to the destination. The first alone is not enough, because the kernel drops
// an entry of a full error queue but not its error.
func (r *retry) confirmed() bool {
	before := r.taken
	r.taken = r.reportsTaken()
	return before == r.taken && r.Socket.Info().ErrorQueue && r.Socket.MTU(r.m.To) == 0
}

// own converts the datagram's own error to the form that callers expect.
func (r *retry) own(class sys.Class, err error) error {
	if class == sys.TooLarge {
		fits, mtu := r.fits(&r.m)
		return r.TooLarge(len(r.m.Data), fits, mtu)
	}
	return err
}

// reportsTaken returns the number of ICMP errors that have left the error queue:
// see [socket.Socket.ErrorPending].
func (s *Sender) reportsTaken() uint64 {
	return s.Stats.Refused.Load() + s.Stats.RefusalsLost.Load() + s.Socket.LostReports()
}

// many reports whether to may have more than one receiver.
func (s *Sender) many(to netip.AddrPort) bool {
	if peer := s.Peer.Load(); !to.IsValid() && peer != nil {
		to = *peer
	}
	return to.Addr().IsMulticast() || s.Broadcast && to.Addr().Is4()
}

// hears reports whether a send can return the ICMP error of an older datagram.
func (s *Sender) hears() bool { return s.PeerErrors || s.Peer.Load() != nil }

// reportedBySend reports an ICMP error that a send returned, unless an error queue
// reports it.
func (s *Sender) reportedBySend(err error) {
	if peer := s.Peer.Load(); peer != nil && !s.Socket.Info().ErrorQueue {
		s.Reported(*peer, err)
	}
}
