package udp

import (
	"net"
	"net/netip"
	"os"
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

// patience says what a send waits for.
type patience int

const (
	tryOnce     patience = iota // nothing: the reader never sleeps in a send
	waitForRoom                 // room in the socket's buffer
	patient                     // also room in the queue of the interface
)

// sendAgain goes on with a send that failed with err: it sorts the error, and
// repeats the send as long as the error may be an older datagram's or may pass. The
// datagram itself has not left when a send returns an error. Later reports that the
// send has to wait, which it must not do: the error says what for.
func (c *Conn) sendAgain(m socket.Message, err error, how patience) (result error, later bool) {
	var stale, doubted int
	var full time.Duration
	taken := c.reportsTaken()
	reported := c.sock.Reported()
	for {
		class := sys.Classify(err)
		if class == sys.TooLarge {
			// What the path carries says whose the error is, whatever else may be reported.
			e := c.tooLarge(m)
			switch {
			case e.Max > 0 && e.Size <= e.Max && c.hears() && stale < 2*maxStale:
				class = sys.Report
			case e.Max > 0 && c.cfg.MTUDiscovery == MTUDiscoveryDo:
				return e, false
			}
		}
		switch class {
		case sys.Deadline:
			if c.closed() { // Close ends waiting sends with a deadline
				err = net.ErrClosed
			}
			return err, false
		case sys.Report:
			if stale == maxPauses*maxStale {
				return err, false
			}
			if stale > 0 && stale%maxStale == 0 {
				// The reader is emptying a long error queue, and each entry that it takes
				// makes the next one's error pending. It gets time to finish.
				if how == tryOnce {
					return err, true
				}
				if werr := c.pause(time.Millisecond); werr != nil {
					return werr, false
				}
			}
			stale++
			c.reportedBySend(err)
		case sys.Unreachable, sys.TooLarge, sys.Denied, sys.Other:
			// An older datagram's ICMP error, or this one's missing route or length.
			switch {
			case class == sys.Denied && c.stats.Sent.Load() == 0 && doubted == 0:
				doubted++ // the first send of a socket: https://go.dev/issue/63322
			case !c.hears(), class == sys.Denied, class == sys.Other && !reported:
				return c.own(m, class, err), false
			case reported && stale < maxStale:
				stale++ // each of those that wait may be met once
			case doubted < maxDoubted && !(doubted > 0 && c.confirmed(m, &taken)):
				doubted++
			default:
				return c.own(m, class, err), false
			}
		case sys.NoPeer:
			// A Reconnect has taken the old peer away and not set the new one yet.
			if c.peer.current.Load() == nil || m.To.IsValid() || stale == maxStale {
				return err, false
			}
			if stale++; stale > 1 && how != tryOnce {
				if werr := c.pause(time.Millisecond); werr != nil {
					return werr, false
				}
			}
		case sys.Again, sys.NoBuffers:
			// The interface's queue is full, or the socket could not wait for room
			// itself. A group's or broadcast's copy for this host may have been delivered
			// already, so it is not sent twice.
			switch {
			case class == sys.NoBuffers && (how != patient || c.many(m.To)), full >= maxFull:
				return err, false
			case how == tryOnce:
				return err, true
			}
			pause := min(max(full, time.Millisecond), maxPause)
			if werr := c.pause(pause); werr != nil {
				return werr, false
			}
			full += pause
		default:
			return err, false
		}
		if c.closed() && !c.out.final.Load() {
			return net.ErrClosed, false
		}
		if class != sys.Again && class != sys.NoBuffers { // those waited for room
			c.stats.Retried.Add(1)
		}
		last, lastErr := class, err
		reported = c.sock.Reported()
		if err = c.sendOnce(m, how); err == nil {
			if last == sys.Unreachable || last == sys.TooLarge {
				c.reportedBySend(lastErr) // so it was an older one's
			}
			c.stats.CountSent(1, len(m.Data))
			return nil, false
		}
	}
}

// sendOnce sends m, and does not wait for room if it must not wait.
func (c *Conn) sendOnce(m socket.Message, how patience) error {
	if how != tryOnce {
		return c.sock.Send(m)
	}
	_, err := c.sock.SendBatch([]socket.Message{m}, false)
	return err
}

// confirmed reports whether an error that was met twice is the datagram's own: no ICMP
// error came between the two, and there is no way to the destination. The first is not
// enough, since the kernel drops an entry of a full error queue, but not its error.
func (c *Conn) confirmed(m socket.Message, taken *uint64) bool {
	before := *taken
	*taken = c.reportsTaken()
	return before == *taken && c.sock.Info().ErrorQueue && c.sock.MTU(m.To) == 0
}

// reportsTaken counts the ICMP errors that have left the error queue. One that is not
// in it yet still waits: see [socket.Socket.Reported].
func (c *Conn) reportsTaken() uint64 {
	return c.stats.Refused.Load() + c.stats.RefusalsLost.Load() + c.sock.LostReports()
}

// own gives a datagram's own error the form that callers know.
func (c *Conn) own(m socket.Message, class sys.Class, err error) error {
	if class == sys.TooLarge {
		return c.tooLarge(m)
	}
	return err
}

// many reports whether to may mean more than one receiver.
func (c *Conn) many(to netip.AddrPort) bool {
	if peer := c.peer.current.Load(); !to.IsValid() && peer != nil {
		to = *peer
	}
	return to.Addr().IsMulticast() || c.cfg.Broadcast && to.Addr().Is4()
}

// maxMet bounds the ICMP errors that sends have met and that wait for a callback.
const maxMet = 1 << 14

// reportedBySend passes an ICMP error that a send has met to the Handler, where no
// error queue does.
func (c *Conn) reportedBySend(err error) {
	peer := c.peer.current.Load()
	if peer == nil || c.sock.Info().ErrorQueue {
		return
	}
	f := c.refusal(socket.Report{Peer: *peer, Err: sys.ErrnoOf(err)})
	if !c.events.postMet(func() { c.reader.refuse(f) }) {
		c.stats.RefusalsLost.Add(1) // a callback that blocks must not cost memory for each send
		return
	}
	c.sock.Wake()
}

// hears reports whether a send can meet the ICMP error of an older datagram.
func (c *Conn) hears() bool { return c.cfg.PeerErrors || c.peer.current.Load() != nil }

// deadline is the write deadline; the zero time is none.
type deadline struct {
	at      time.Time
	changed chan struct{} // closed when there is another one
}

// SetWriteDeadline bounds the waiting of sends, also of those that wait now; a
// zero t means no deadline. A deadline in the past makes sends fail even if they
// need not wait, as in package net.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if !c.ok() {
		return errNoSocket("set")
	}
	c.out.flush()
	if c.closed() {
		return c.opError("set", netip.AddrPort{}, net.ErrClosed)
	}
	close(c.out.deadline.Swap(&deadline{t, make(chan struct{})}).changed)
	err := c.sock.SetWriteDeadline(t)
	if c.closed() {
		c.endSends() // which stop may have done just before
	}
	return c.opError("set", netip.AddrPort{}, err)
}

// endSends ends the sends that wait for room.
func (c *Conn) endSends() { _ = c.sock.SetWriteDeadline(time.Unix(1, 0)) }

// pause waits before a send is repeated, but not past the write deadline or a
// Close.
func (c *Conn) pause(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		by, until, late := c.out.deadline.Load(), end, false
		if !by.at.IsZero() && !by.at.After(end) {
			until, late = by.at, true
		}
		t := time.NewTimer(time.Until(until))
		select {
		case <-t.C:
			if late {
				return os.ErrDeadlineExceeded
			}
			return nil
		case <-by.changed:
			t.Stop()
		case <-c.life.closing:
			t.Stop()
			return net.ErrClosed
		}
	}
}
