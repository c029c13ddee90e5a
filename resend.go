package udp

import (
	"net"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// Bounds of repeating a send. Other goroutines' datagrams may be refused between
// two tries, so one repetition would not always do.
const (
	maxPauses  = 16 // of a millisecond, while the reader takes older ones
	maxStale   = 64 // after errors that are never this datagram's own
	maxDoubted = 8  // after errors that may be
	maxNoBuffs = 6  // 1, 2, 4, 8, 16, 32 ms
)

// sendAgain goes on with a send that failed with err: it sorts the error, and
// repeats the send as long as the error may be an older datagram's or may pass.
// The datagram itself has not left when a send returns an error.
func (c *Conn) sendAgain(m socket.Message, err error) error {
	var stale, doubted, again, full int
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
				c.countFailure(e)
				return e
			}
		}
		switch class {
		case sys.Report:
			if stale == maxPauses*maxStale {
				return c.failed(m, err)
			}
			if stale > 0 && stale%maxStale == 0 {
				// The reader is taking reports off a long queue, and each that it takes makes
				// the next one's error pending. It gets time to finish.
				if werr := c.pause(time.Millisecond); werr != nil {
					return c.failed(m, werr)
				}
			}
			stale++
			c.stats.retried.Add(1)
			c.reportedBySend(err)
		case sys.Unreachable, sys.TooLarge, sys.Denied, sys.Other:
			// An older datagram's ICMP message, or this one's missing route or length.
			// EPERM also comes from a fresh socket's first send:
			// https://go.dev/issue/63322. What nobody knows is a message's only if there
			// is one.
			if class == sys.Other && !reported {
				return c.failed(m, err)
			}
			if reported && class != sys.Denied && stale < maxStale {
				stale++ // each of those that wait may be met once
			} else if doubted == maxDoubted || doubted == 1 && (class == sys.Denied || !c.hears()) {
				return c.failed(m, err)
			} else {
				doubted++
			}
			c.stats.retried.Add(1)
		case sys.NoPeer:
			// A Reconnect has taken the old peer away and not set the new one yet.
			c.connecting.Lock()
			connected := c.peer.Load() != nil
			c.connecting.Unlock()
			if !connected || m.To.IsValid() || stale == maxStale {
				return c.failed(m, err)
			}
			stale++
			c.stats.retried.Add(1)
		case sys.Again:
			// The socket could not wait for room itself.
			if again > 0 {
				if werr := c.pause(time.Millisecond << min(again-1, maxNoBuffs)); werr != nil {
					return c.failed(m, werr)
				}
			}
			again++
		case sys.NoBuffers:
			if full == maxNoBuffs {
				return c.failed(m, err)
			}
			if werr := c.pause(time.Millisecond << full); werr != nil {
				return c.failed(m, werr)
			}
			full++
		default:
			return c.failed(m, err)
		}
		if c.closed() {
			return c.failed(m, net.ErrClosed)
		}
		last, lastErr := class, err
		reported = c.sock.Reported()
		if err = c.sock.Send(m); err == nil {
			if last == sys.Unreachable || last == sys.TooLarge {
				c.reportedBySend(lastErr) // so it was an older one's
			}
			c.stats.sent.Add(1)
			c.stats.sentBytes.Add(uint64(len(m.Data)))
			return nil
		}
	}
}

// maxMet is how many refusals that sends have met wait for a callback at most.
const maxMet = 1 << 14

// reportedBySend tells the Handler of an ICMP message that a send has met,
// where no error queue does.
func (c *Conn) reportedBySend(err error) {
	peer := c.peer.Load()
	if peer == nil || c.sock.Info().ErrorQueue {
		return
	}
	f := c.refusal(socket.Report{Peer: *peer, Err: errnoOf(err)})
	c.mu.Lock()
	if c.closed() || c.met == maxMet { // a callback that blocks must not cost memory for each send
		c.mu.Unlock()
		c.stats.refusalsLost.Add(1)
		return
	}
	c.met++
	c.events = append(c.events, func() {
		c.mu.Lock()
		c.met--
		c.mu.Unlock()
		c.reader.refuse(f)
	})
	c.mu.Unlock()
	c.sock.Wake()
}

// dropMet counts the refusals that nobody is told of, since the socket stops.
func (c *Conn) dropMet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.refusalsLost.Add(uint64(c.met))
	c.met = 0
}

// hears says whether ICMP messages about older datagrams can be met by a send.
func (c *Conn) hears() bool { return c.cfg.PeerErrors || c.peer.Load() != nil }
