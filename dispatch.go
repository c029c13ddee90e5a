package udp

import (
	"net/netip"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// datagrams counts those in p.
func datagrams(p *socket.Packet) int {
	if p.Segment == 0 || len(p.Data) == 0 {
		return 1
	}
	return (len(p.Data) + p.Segment - 1) / p.Segment
}

// dispatch hands the datagrams on. It returns false when a panic broke it off;
// the position has moved on by then, so it can be called again.
//
// Half of what a datagram costs here is copying its 136 bytes for the call, so
// it is built once for a train, and a HandlerFunc is called without the detour
// over the interface.
func (r *reader) dispatch() (all bool) {
	defer r.contain(&all)
	for r.at < len(r.packets) {
		p := &r.packets[r.at]
		d := Datagram{
			From: p.From, to: p.To, ifIndex: p.IfIndex, ttl: p.TTL, class: p.TrafficClass, time: p.Time,
			own: p.Own, conn: r.Conn, buf: p.Buf,
		}
		r.buf = p.Buf
		peer := r.peer.Load()
		why := r.unwanted(p, peer)
		for more := true; more; {
			start, end := r.off, len(p.Data)
			if more = p.Segment > 0 && end-start > p.Segment; more {
				end = start + p.Segment
				r.off = end
			} else {
				r.at, r.off = r.at+1, 0
			}
			if now := r.peer.Load(); now != peer { // a callback has changed it
				peer, why = now, r.unwanted(p, now)
			}
			switch {
			case r.closed():
				r.stats.dropped[dropClosed].Add(1)
				continue
			case end-start > r.cfg.MaxDatagram:
				r.stats.dropped[dropTruncated].Add(1)
				continue
			case why != wanted:
				r.stats.dropped[why].Add(1)
				continue
			}
			d.Data = p.Data[start:end:end]
			r.taken = false
			if r.function != nil {
				r.function(r.Conn, d)
			} else {
				r.handler.Received(r.Conn, d)
			}
			if !r.taken {
				r.handled++
			}
			r.taken = true // who puts d into a Queue now does it a second time
		}
		r.countHandled()
		r.dropSpare()
	}
	return true
}

// wanted is no reason to drop a datagram.
const wanted reason = -1

// unwanted says why a packet is not for the Handler, given the peer.
func (r *reader) unwanted(p *socket.Packet, peer *netip.AddrPort) reason {
	switch {
	case p.Truncated:
		return dropTruncated
	case peer != nil && *peer != p.From && !r.nextPeer(p.From):
		return dropStranger
	case r.checkGroups && !r.groups.Wants(p.To.Addr(), p.From.Addr(), p.IfIndex):
		return dropStranger
	}
	return wanted
}

// nextPeer says whether the socket is being connected to the sender: the kernel
// lets it in before Reconnect has returned.
func (r *reader) nextPeer(from netip.AddrPort) bool {
	next := r.next.Load()
	return next != nil && *next == from
}

// countHandled is called for each packet, not for each datagram of a train.
func (r *reader) countHandled() {
	if r.handled > 0 {
		r.stats.handled.Add(int64(r.handled))
		r.handled = 0
	}
}

// contain counts a datagram whose Received did not return, and logs its panic.
// Without one it was runtime.Goexit.
func (r *reader) contain(all *bool) {
	v := recover()
	r.countHandled()
	if *all {
		return
	}
	if !r.taken {
		r.stats.dropped[dropPanicked].Add(1)
		r.taken = true // who puts it into a Queue later does so after it was counted
	}
	if r.off == 0 { // it was the last of its packet
		r.dropSpare()
	}
	if v != nil {
		r.panicked("Received", v)
		return
	}
	// Goexit, so now: when its deferred functions have run, the packets are another
	// socket's.
	r.dropRest()
}

// dropRest counts what was read and will not be handled any more.
func (r *reader) dropRest() {
	r.dropSpare()
	for ; r.at < len(r.packets); r.at++ {
		p := r.packets[r.at]
		p.Data = p.Data[r.off:]
		r.off = 0
		r.stats.dropped[dropClosed].Add(uint64(datagrams(&p)))
	}
	r.packets = nil
}

// take makes the caller, which has been given a datagram, answer for it in the
// counters, where otherwise it would be Handled once Received returns. It is the
// first when that is still to come, and the caller the socket's goroutine.
//
// It also says whether d may be kept as it lies: when the buffer before was well
// used, as those of trains are. Then it holds no more memory for a datagram than
// a short buffer would.
func (c *Conn) take(d *Datagram, keeps, made bool) (first, asItLies bool) {
	r := &c.reader
	switch {
	case c.inCallback() && !r.taken: // what was made may stand for the callback's
	case made:
		c.stats.made(d)
		return false, false
	default:
		c.stats.handled.Add(-1) // it is counted already
		return false, false
	}
	if d.buf != r.shared {
		r.full = r.kept >= buffer.Size/buffer.Short || r.bytes >= buffer.Size/2
		r.shared, r.kept, r.bytes = d.buf, 0, 0
	}
	if keeps {
		r.kept++
		r.bytes += len(d.Data)
	}
	return true, r.full
}

// retain is Datagram.Retain for what lies in buf: it takes a reference for each
// datagram of the packet at once.
func (r *reader) retain() {
	if r.spare == 0 {
		r.spare = 1
		if r.at < len(r.packets) && r.packets[r.at].Buf == r.buf { // others follow
			r.spare = datagrams(&r.packets[r.at])
		}
		r.buf.Retain(r.spare)
	}
	r.spare--
}

// dropSpare gives back the references that nobody wanted.
func (r *reader) dropSpare() {
	if r.spare > 0 {
		r.buf.Release(r.spare)
		r.spare = 0
	}
	r.buf = nil
}
