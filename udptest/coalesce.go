package udptest

import (
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// Limits of a coalesced packet on Linux: UDP_GRO_CNT_MAX, and the length of an IP packet.
const (
	maxSegments  = 64
	maxCoalesced = 65535 - header6 - headerUDP
)

// arrival is a datagram that has arrived in the current run of the events.
type arrival struct {
	socket.Packet
	first bool // begins a packet, by a random decision
}

// arrive accepts a datagram from the network and returns what it did, as push does. Datagrams
// of one instant reach the queue together, when events.run ends, so that coalescing does not
// depend on how fast Serve reads. The caller holds the network's lock.
func (s *sock) arrive(p socket.Packet, k key) (what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if what = s.admit(&p); what == received {
		if s.arrived == nil {
			s.arrived = s.host.net.events.arrivals()
		}
		// One datagram in eight is not coalesced with the one before, so that handlers meet
		// packets of all lengths.
		draw := mix(mix(mix(s.host.net.cfg.Seed, s.id+drawCoalesce), k.origin), k.seq<<8+k.copy)
		s.arrived = append(s.arrived, arrival{p, s.opts.NoOffload || draw%8 == 0})
	}
	return what
}

// coalesce moves the datagrams that have arrived to the queue. As UDP_GRO does, it joins
// consecutive datagrams of one sender and one size into one packet, whose last datagram may be
// shorter. The caller holds the network's lock.
func (s *sock) coalesce() {
	if len(s.arrived) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut || s.closed || s.dead {
		for i := range s.arrived {
			s.arrived[i].Buf.Release(1)
		}
	} else {
		for rest := s.arrived; len(rest) > 0; {
			n := joinable(rest)
			s.queue = append(s.queue, join(rest[:n]))
			rest = rest[n:]
		}
	}
	clear(s.arrived)
	s.host.net.events.free = append(s.host.net.events.free, s.arrived[:0])
	s.arrived = nil
}

// arrivals returns memory for the datagrams that arrive at a socket. Sockets share it, because
// only few of thousands receive at one instant.
func (e *events) arrivals() []arrival {
	last := len(e.free) - 1
	if last < 0 {
		return make([]arrival, 0, 4)
	}
	as := e.free[last]
	e.free = e.free[:last]
	return as
}

// joinable returns how many of the datagrams form the first packet, at least 1.
func joinable(as []arrival) int {
	first := &as[0]
	size, total := len(first.Data), len(first.Data)
	n := 1
	for n < len(as) && n < maxSegments {
		a := &as[n]
		total += len(a.Data)
		if a.first || len(a.Data) == 0 || len(a.Data) > size || total > maxCoalesced || !sameFlow(&first.Packet, &a.Packet) {
			break
		}
		n++
		if len(a.Data) < size {
			break
		}
	}
	return n
}

// sameFlow reports whether two datagrams differ in their payload only.
func sameFlow(a, b *socket.Packet) bool {
	return a.From == b.From && a.To == b.To && a.Own == b.Own &&
		a.IfIndex == b.IfIndex && a.TTL == b.TTL && a.TrafficClass == b.TrafficClass
}

// join returns a packet of the datagrams, in a buffer of its own if there are several.
func join(as []arrival) socket.Packet {
	p := as[0].Packet
	if len(as) == 1 {
		return p
	}
	total := 0
	for i := range as {
		total += len(as[i].Data)
	}
	p.Buf, p.Segment = buffer.Of(total), len(p.Data)
	p.Data = p.Buf.B[:0]
	for i := range as {
		p.Data = append(p.Data, as[i].Data...)
		as[i].Buf.Release(1)
	}
	return p
}
