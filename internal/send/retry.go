package send

import (
	"net"
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// Bounds of repeating a send. Other goroutines' ICMP errors may arrive between two
// tries, so one repetition would not always do.
const (
	maxStale   = 64 // after errors that are never this datagram's own
	maxPauses  = 16 // of a millisecond after so many, while the reader takes older ones
	maxDoubted = 8  // after errors that may be this datagram's own
	maxPause   = 32 * time.Millisecond
	maxFull    = time.Second // of pauses while the interface's queue is full
)

// Patience is what a send waits for.
type Patience int

// From the least to the most.
const (
	TryOnce     Patience = iota // nothing: the reader never sleeps in a send
	WaitForRoom                 // room in the socket's buffer
	Patient                     // also room in the queue of the interface
)

// Again goes on with a send that failed with err: it sorts the error, and
// repeats the send as long as the error may be an older datagram's or may pass. The
// datagram itself has not left when a send returns an error. Later reports that the
// send has to wait, which it must not do: the error says what for.
func (s *Sender) Again(m socket.Message, err error, how Patience) (result error, later bool) {
	r := retry{Sender: s, m: m, how: how, taken: s.reportsTaken(), reported: s.Socket.Reported()}
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
				s.reportedBySend(last) // so it was an older one's
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
	taken          uint64        // ICMP errors taken when the error was met first
	reported       bool          // when the last send began, an older one's error was pending
}

// next is what to do after an error.
type next int

const (
	repeat next = iota
	fail
	wait // somebody else must: this caller must not
)

// classify returns the kind of err. A datagram that is too large has an error
// already if no repetition can help.
func (r *retry) classify(err error) (sys.Class, error) {
	class := sys.Classify(err)
	if class != sys.TooLarge {
		return class, nil
	}
	// What the path carries says whose the error is, whatever else may be reported.
	fits, mtu := r.fits(&r.m)
	switch size := len(r.m.Data); {
	case fits > 0 && size <= fits && r.hears() && r.stale < 2*maxStale:
		class = sys.Report
	case fits > 0 && r.NoFragments:
		return class, r.TooLarge(size, fits, mtu)
	}
	return class, nil
}

// judge decides what to do after an error, and has waited if it says repeat. With fail
// it returns the error of the datagram.
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
		// A Reconnect has taken the old peer away and not set the new one yet.
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
		// The reader is emptying a long error queue, and each entry that it takes
		// makes the next one's error pending. It gets time to finish.
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

// doubt reports whether an error may be an older datagram's ICMP error rather than this
// one's missing route or length.
func (r *retry) doubt(class sys.Class) bool {
	switch {
	case class == sys.Denied && r.Stats.Sent.Load() == 0 && r.doubted == 0:
		r.doubted++ // the first send of a socket: https://go.dev/issue/63322
	case !r.hears(), class == sys.Denied, class == sys.Other && !r.reported:
		return false
	case r.reported && r.stale < maxStale:
		r.stale++ // each of those that wait may be met once
	case r.doubted < maxDoubted && !(r.doubted > 0 && r.confirmed()):
		r.doubted++
	default:
		return false
	}
	return true
}

// noRoom is judge when the interface's queue is full, or the socket could not wait for
// room itself. A group's or broadcast's copy for this host may have been delivered
// already, so it is not sent twice.
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

// sleep waits before a send is repeated, unless the deadline or a Close is first.
func (r *retry) sleep(d time.Duration) (next, error) {
	if err := r.pause(d); err != nil {
		return fail, err
	}
	return repeat, nil
}

// once sends the datagram, and does not wait for room if it must not wait.
func (r *retry) once() error {
	r.reported = r.Socket.Reported()
	if r.how != TryOnce {
		return r.Socket.Send(r.m)
	}
	_, err := r.Socket.SendBatch([]socket.Message{r.m}, false)
	return err
}

// confirmed reports whether an error that was met twice is the datagram's own: no ICMP
// error came between the two, and there is no way to the destination. The first is not
// enough, since the kernel drops an entry of a full error queue, but not its error.
func (r *retry) confirmed() bool {
	before := r.taken
	r.taken = r.reportsTaken()
	return before == r.taken && r.Socket.Info().ErrorQueue && r.Socket.MTU(r.m.To) == 0
}

// own gives the datagram's own error the form that callers know.
func (r *retry) own(class sys.Class, err error) error {
	if class == sys.TooLarge {
		fits, mtu := r.fits(&r.m)
		return r.TooLarge(len(r.m.Data), fits, mtu)
	}
	return err
}

// reportsTaken counts the ICMP errors that have left the error queue. One that is not
// in it yet still waits: see [socket.Socket.Reported].
func (s *Sender) reportsTaken() uint64 {
	return s.Stats.Refused.Load() + s.Stats.RefusalsLost.Load() + s.Socket.LostReports()
}

// many reports whether to may mean more than one receiver.
func (s *Sender) many(to netip.AddrPort) bool {
	if peer := s.Peer.Load(); !to.IsValid() && peer != nil {
		to = *peer
	}
	return to.Addr().IsMulticast() || s.Broadcast && to.Addr().Is4()
}

// hears reports whether a send can meet the ICMP error of an older datagram.
func (s *Sender) hears() bool { return s.PeerErrors || s.Peer.Load() != nil }

// reportedBySend passes on an ICMP error that a send has met, where no error queue does.
func (s *Sender) reportedBySend(err error) {
	if peer := s.Peer.Load(); peer != nil && !s.Socket.Info().ErrorQueue {
		s.Reported(*peer, err)
	}
}
