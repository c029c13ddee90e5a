package udp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
	"github.com/udpkit/udp/internal/tap"
)

// A Trace is a set of functions that are called when something happens to a socket: see
// [Config.Trace]. Any of them may be nil.
//
// They run on the goroutine that reads or sends, with locks of the socket held, and several
// may run at the same time. They must return soon. They must not send, read, close, change
// the peer or memberships, or wait for a goroutine that does. They may call Stats, Info and
// the methods that return addresses. Stats counts an event after its function has returned. A
// panic is counted in Stats.Panics.
//
// Payloads must not be changed, and are valid until the function returns; [Datagram.Clone]
// copies them. A Datagram passed to a Trace has no Conn: Reply fails on it, and Drop, Retain
// and Release do nothing.
type Trace struct {
	// Received is called for each datagram that was read, before it is handled or dropped.
	Received func(c *Conn, d Datagram)

	// Sent is called for each datagram that the system accepted, as [Stats.Sent] counts them.
	// On a connected socket m.To is the peer. If m.From is invalid, the system chose the
	// source. at is when the system call began. Events caused by the datagram, such as a
	// reply, may be reported before it.
	Sent func(c *Conn, m Message, at time.Time)

	// Dropped is called for each datagram that [Stats.Dropped] counts. For each unread
	// datagram that Close finds in the kernel it gets the zero Datagram.
	Dropped func(c *Conn, d Datagram, why DropReason)

	// Refused is called for each ICMP error that [Stats.Refused] counts, before
	// [Handler.Refused]. It must not change r.
	Refused func(c *Conn, r *Refusal)

	// Membership is called when the state of a membership has changed, like
	// [Config.OnMembership]. It is also called when the program joins or leaves a group or
	// blocks a source, once for each membership of the group. If none remains, it is called
	// with a Membership without interfaces.
	Membership func(c *Conn, m Membership)

	// Rebind is called after each repair of the socket that [Stats.Rebinds] counts, on the
	// goroutine that reads. For a [PacketConn] that is the next Read.
	Rebind func(c *Conn)
}

// DropReason is the reason why a datagram was dropped, by the field of [Drops] that counts
// it.
type DropReason int

// The reasons are the fields of [Drops].
const (
	DroppedQueue     = DropReason(stats.DropQueue)
	DroppedTruncated = DropReason(stats.DropTruncated)
	DroppedStranger  = DropReason(stats.DropStranger)
	DroppedHandler   = DropReason(stats.DropHandler)
	DroppedPanicked  = DropReason(stats.DropPanicked)
	DroppedClosed    = DropReason(stats.DropClosed)
)

var dropReasons = [stats.Reasons]string{"queue", "truncated", "stranger", "handler", "panicked", "closed"}

// String returns the reason as [Stats.All] has it after "dropped_".
func (r DropReason) String() string {
	if r < 0 || int(r) >= len(dropReasons) {
		return fmt.Sprintf("DropReason(%d)", int(r))
	}
	return dropReasons[r]
}

// tapped returns sock with the Trace of c.
func (c *Conn) tapped(sock socket.Socket) *tap.Socket {
	t, seen := c.cfg.Trace, headerCache{} // used by the reading goroutine only
	return &tap.Socket{Socket: sock, Hooks: tap.Hooks{
		Received: func(ps []socket.Packet) {
			if t.Received != nil {
				c.traceReceived(ps, &seen)
			}
		},
		Sent: func(ms []socket.Message, n int, at time.Time) {
			if t.Sent != nil {
				c.traceSent(ms, n, at)
			}
		},
		Discarded: func() { c.traceDropped(Datagram{}, stats.DropClosed) },
		Rebound: func() {
			if t.Rebind != nil {
				c.guard.Call("Trace.Rebind", func() { t.Rebind(c) })
			}
		},
	}}
}

// traceReceived reports the datagrams of a read.
func (c *Conn) traceReceived(ps []socket.Packet, seen *headerCache) {
	for i := range ps {
		h := seen.find(c, &ps[i])
		if h.conn != nil {
			h.conn = nil // this cache is the Trace's own
		}
		d := traced(&ps[i], h)
		for d.Data = range ps[i].Payloads() {
			c.guard.Call("Trace.Received", func() { c.cfg.Trace.Received(c, d) })
		}
	}
}

// traceSent reports the first n datagrams of ms.
func (c *Conn) traceSent(ms []socket.Message, n int, at time.Time) {
	for i := range ms {
		m := &ms[i]
		to := c.peer.Or(m.To)
		for data := range m.Payloads() {
			if n--; n < 0 {
				return
			}
			one := Message{Data: data, To: to, From: m.From, IfIndex: m.IfIndex,
				TTL: int(m.TTL), TrafficClass: m.TrafficClass, ECN: ECN(m.ECN)}
			c.guard.Call("Trace.Sent", func() { c.cfg.Trace.Sent(c, one, at) })
		}
	}
}

// traced returns a datagram of p for a Trace. The caller sets its Data.
func traced(p *socket.Packet, h *header) Datagram {
	pk := newPacket()
	pk.describe(p, h)
	return Datagram{From: p.From, packet: pk}
}

// traceDropped is not inlined: d escapes here, which must cost nothing without a Trace.
//
//go:noinline
func (c *Conn) traceDropped(d Datagram, why stats.Reason) {
	f := c.cfg.Trace.Dropped
	if f == nil {
		return
	}
	if old := d.packet; old != nil {
		h := *old.header
		h.conn, h.refusal = nil, nil
		d.packet = &packet{header: &h, time: old.time, control: old.control}
	}
	c.guard.Call("Trace.Dropped", func() { f(c, d, DropReason(why)) })
}

// traceMembership reports a membership, if there is a Trace.
func (c *Conn) traceMembership(m Membership) {
	if t := c.cfg.Trace; t != nil && t.Membership != nil {
		c.guard.Call("Trace.Membership", func() { t.Membership(c, m) })
	}
}

// traceGroup reports the memberships of a group that the program has changed.
func (m *MulticastConn) traceGroup(group netip.Addr) {
	if m.cfg.Trace == nil {
		return
	}
	group = group.Unmap().WithZone("")
	left := true
	for _, s := range m.Memberships() {
		if s.Group == group {
			left = false
			m.traceMembership(s)
		}
	}
	if left {
		m.traceMembership(Membership{Group: group})
	}
}

// JoinTraces returns a Trace whose functions call those of all traces, in order. It ignores
// nil ones, and returns nil if all are nil.
func JoinTraces(traces ...*Trace) *Trace {
	var all *Trace
	for _, t := range traces {
		switch {
		case t == nil:
		case all == nil:
			all = t
		default:
			all = &Trace{
				Received: then(all.Received, t.Received), Sent: thenOf(all.Sent, t.Sent),
				Dropped: thenOf(all.Dropped, t.Dropped), Refused: then(all.Refused, t.Refused),
				Membership: then(all.Membership, t.Membership), Rebind: thenAlone(all.Rebind, t.Rebind),
			}
		}
	}
	return all
}

// then and its variants return a function that calls f and then g. Either may be nil.
func then[A any](f, g func(*Conn, A)) func(*Conn, A) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(c *Conn, a A) { f(c, a); g(c, a) }
}

func thenOf[A, B any](f, g func(*Conn, A, B)) func(*Conn, A, B) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(c *Conn, a A, b B) { f(c, a, b); g(c, a, b) }
}

func thenAlone(f, g func(*Conn)) func(*Conn) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(c *Conn) { f(c); g(c) }
}
