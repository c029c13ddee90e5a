package udp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
)

// A Trace is a set of functions that are called when something happens to a socket: see
// [Config.Trace]. Any of them may be nil.
//
// They run where the event happens: on the goroutine that reads, or on one that sends, while
// locks of the socket are held. Several may run at the same time. So they must return soon, and
// must not send, read, close, change the peer or memberships, or wait for somebody who does.
// Stats, Info and the addresses may be read. An event is reported before Stats counts it. A panic
// is counted in Stats.Panics.
//
// Data belongs to the socket or to its user: it must not be written to and is valid until the
// function returns. To keep it, copy it ([Datagram.Clone]). A Datagram that a Trace gets has no
// Conn: Reply fails on it, and Drop, Retain and Release do nothing.
type Trace struct {
	// Received is called for each datagram that was read, before it is handled or dropped.
	Received func(c *Conn, d Datagram)

	// Sent is called for each datagram that the system took, as [Stats.Sent] counts
	// them. On a connected socket m.To is the peer. An invalid m.From is an address
	// that the system chose. The system call began at the time at. Events that it
	// caused may have been reported before.
	Sent func(c *Conn, m Message, at time.Time)

	// Dropped is called for each datagram that [Stats.Dropped] counts. The datagrams that Close
	// finds in the kernel were never read: for each of them it gets the zero Datagram.
	Dropped func(c *Conn, d Datagram, why DropReason)

	// Refused is called for each ICMP error that [Stats.Refused] counts, before
	// [Handler.Refused]. It must not change r.
	Refused func(c *Conn, r *Refusal)

	// Membership is called when the state of a membership has changed, like
	// [Config.OnMembership]. It is also called when the program has joined or left a
	// group or blocked a source: with each membership of the group, or, if there is
	// none any more, with one that is on no interface.
	Membership func(c *Conn, m Membership)

	// Rebind is called after each repair of the socket that [Stats.Rebinds] counts, on
	// the goroutine that reads. With a [PacketConn], that may be later, or never.
	Rebind func(c *Conn)
}

// DropReason says why a datagram was dropped: in which field of [Drops] it is counted.
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

// tracedSocket wraps the socket of a Conn that has a Trace, so the packet path of a Conn without
// one runs no code for it. Only drops, ICMP errors and memberships check whether there is a Trace.
type tracedSocket struct {
	socket.Socket
	conn    *Conn
	headers headers // used by whoever reads, as rebinds
	rebinds uint64  // reported so far
}

// Serve implements socket.Socket.
func (s *tracedSocket) Serve(sink socket.Sink) error { return s.Socket.Serve(tracedSink{sink, s}) }

// Send implements socket.Socket.
func (s *tracedSocket) Send(m socket.Message) error {
	at := time.Now()
	err := s.Socket.Send(m)
	if err == nil {
		s.sent([]socket.Message{m}, 1, at)
	}
	return err
}

// SendBatch implements socket.Socket.
func (s *tracedSocket) SendBatch(ms []socket.Message, wait bool) (int, error) {
	at := time.Now()
	n, err := s.Socket.SendBatch(ms, wait)
	s.sent(ms, n, at)
	return n, err
}

// Discard implements socket.Socket.
func (s *tracedSocket) Discard() int {
	n := s.Socket.Discard()
	for range n {
		s.conn.traceDropped(Datagram{}, stats.DropClosed)
	}
	return n
}

// tracedSink is between the socket and its reader.
type tracedSink struct {
	socket.Sink
	socket *tracedSocket
}

// Packets implements socket.Sink.
func (s tracedSink) Packets(ps []socket.Packet) bool {
	s.socket.received(ps)
	return s.Sink.Packets(ps)
}

// Woken implements socket.Sink.
func (s tracedSink) Woken() socket.Action {
	s.socket.rebound()
	return s.Sink.Woken()
}

// tracedPuller is between the socket and a PacketConn.
type tracedPuller struct {
	socket.Puller
	socket *tracedSocket
}

// Pull implements socket.Puller. A Trace gets whole datagrams with their headers.
func (p tracedPuller) Pull([]byte, bool) ([]socket.Packet, error) {
	ps, err := p.Puller.Pull(nil, true)
	p.socket.rebound()
	p.socket.received(ps)
	return ps, err
}

// received reports what a read has brought.
func (s *tracedSocket) received(ps []socket.Packet) {
	c := s.conn
	f := c.cfg.Trace.Received
	if f == nil {
		return
	}
	for i := range ps {
		h := s.headers.find(c, &ps[i])
		if h.conn != nil {
			h.conn = nil // this cache is the Trace's own
		}
		d := traced(&ps[i], h)
		for d.Data = range ps[i].Payloads() {
			c.guard("Trace.Received", func() { f(c, d) })
		}
	}
}

// sent reports the first n datagrams of ms.
func (s *tracedSocket) sent(ms []socket.Message, n int, at time.Time) {
	c := s.conn
	f := c.cfg.Trace.Sent
	if f == nil {
		return
	}
	for i := range ms {
		m := &ms[i]
		to := m.To
		if peer := c.peer.current.Load(); !to.IsValid() && peer != nil {
			to = *peer
		}
		for data := range m.Payloads() {
			if n--; n < 0 {
				return
			}
			one := Message{Data: data, To: to, From: m.From, IfIndex: m.IfIndex,
				TTL: int(m.TTL), TrafficClass: m.TrafficClass, ECN: ECN(m.ECN)}
			c.guard("Trace.Sent", func() { f(c, one, at) })
		}
	}
}

// rebound reports the repairs since its last call: the socket wakes its reader after each.
func (s *tracedSocket) rebound() {
	c := s.conn
	for n := s.Rebinds(); s.rebinds < n; s.rebinds++ {
		if f := c.cfg.Trace.Rebind; f != nil {
			c.guard("Trace.Rebind", func() { f(c) })
		}
	}
}

// traced is a datagram of p for a Trace. Its Data is the caller's to set.
func traced(p *socket.Packet, h *header) Datagram {
	pk := newPacket()
	pk.header = h
	if !p.Time.IsZero() {
		pk.time = p.Time.UnixNano()
	}
	pk.control = p.Control
	return Datagram{From: p.From, packet: pk}
}

// drop counts a datagram of p that no Handler gets.
func (c *Conn) drop(p *socket.Packet, data []byte, why stats.Reason) {
	if c.cfg.Trace != nil {
		d := traced(p, newHeader(c, p))
		d.Data = data
		c.traceDropped(d, why)
	}
	c.stats.Dropped[why].Add(1)
}

// dropAll is drop for all datagrams of p.
func (c *Conn) dropAll(p *socket.Packet, why stats.Reason) {
	for data := range p.Payloads() {
		c.drop(p, data, why)
	}
}

// dropped counts a datagram that was on its way to a Handler, or that it has rejected.
func (c *Conn) dropped(d Datagram, why stats.Reason) {
	if c.cfg.Trace != nil {
		c.traceDropped(d, why)
	}
	c.stats.Dropped[why].Add(1)
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
	c.guard("Trace.Dropped", func() { f(c, d, DropReason(why)) })
}

// refused counts an ICMP error.
func (c *Conn) refused(r *Refusal) {
	if t := c.cfg.Trace; t != nil && t.Refused != nil {
		c.guard("Trace.Refused", func() { t.Refused(c, r) })
	}
	c.stats.Refused.Add(1)
}

// traceMembership reports a membership, if there is a Trace.
func (c *Conn) traceMembership(m Membership) {
	if t := c.cfg.Trace; t != nil && t.Membership != nil {
		c.guard("Trace.Membership", func() { t.Membership(c, m) })
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
