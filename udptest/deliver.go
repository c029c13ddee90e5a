package udptest

import (
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// receive processes a packet that has arrived at an interface.
func (h *Host) receive(p *packet, now time.Duration) {
	n, i := h.net, p.iface
	if h.down || i.down || i.removed {
		n.note(now, i.in.name, "interface down", p)
		n.free(p)
		return
	}
	if h.nat != nil && !h.nat.inward(p, now) {
		n.note(now, h.name, "filtered", p)
		n.free(p)
		return
	}
	dst := p.dst.Addr()
	own := dst == p.hop && h.nat == nil // the segment found the interface by it
	switch {
	case !own && (dst.IsMulticast() || h.isBroadcast(dst)):
		if h.multicasts && dst.IsMulticast() {
			h.forwardToGroups(p, now)
		}
		if h.accepts(p, now) {
			h.deliverToAll(p, now)
		}
	case own, h.owns(dst):
		switch {
		case p.refusal != nil:
			h.refused(p, now)
		case h.accepts(p, now):
			h.deliver(p, now)
		}
	case h.forwards:
		if h.accepts(p, now) {
			h.forward(p, now)
			return
		}
	default:
		n.note(now, h.name, "not local", p)
	}
	n.free(p)
}

// deliver delivers a unicast datagram to its socket.
func (h *Host) deliver(p *packet, now time.Duration) {
	s := h.lookup(p.dst, p.src)
	if s == nil {
		h.net.note(now, h.name, "closed port", p)
		h.answer(p, portUnreachable, 0, now)
		return
	}
	h.push(s, p, now)
}

// deliverToAll delivers a multicast or broadcast datagram to every socket that receives it.
func (h *Host) deliverToAll(p *packet, now time.Duration) {
	dst := p.dst.Addr()
	for _, s := range h.ports.of(p.dst.Port()) {
		switch {
		case !s.family.Has(dst), !s.local.IsUnspecified() && s.local.WithZone("") != dst:
		case s.peer.IsValid() && bare(s.peer) != p.src:
		case dst.IsMulticast() && !s.member(dst, p.src.Addr(), p.iface.index):
		default:
			c := h.net.clone(p, s.id)
			h.push(s, c, now)
			h.net.free(c)
		}
	}
}

func (h *Host) push(s *sock, p *packet, now time.Duration) {
	dst := p.dst.Addr()
	from, to := p.scoped(p.src), p.scoped(p.dst)
	own := dst == p.hop || h.owns(dst)
	what := s.arrive(socket.Packet{
		Data: p.data, Buf: p.buf, From: from, To: to, Own: own, IfIndex: p.iface.index, TTL: p.ttl, TrafficClass: p.class,
	}, p.key)
	if what == received {
		h.net.events.wake(s)
	}
	h.net.note(now, h.name, what, p)
	p.buf, p.data = nil, nil // the socket owns them now
}

// scoped returns a link-local address with the zone of the interface that the packet
// arrived on.
func (p *packet) scoped(at netip.AddrPort) netip.AddrPort {
	a := at.Addr()
	if a.Is6() && (a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast()) {
		return netip.AddrPortFrom(a.WithZone(p.iface.name), at.Port())
	}
	return at
}

// lookup returns the socket for a unicast datagram, as Linux does: the one with the highest
// score, for its peer, its address and its family. Of several, the last one bound gets it; with
// ReusePort they share the flows.
func (h *Host) lookup(dst, src netip.AddrPort) (best *sock) {
	socks := h.ports.of(dst.Port())
	if len(socks) == 1 { // the usual case
		if socks[0].fits(dst.Addr(), src) < 0 {
			return nil
		}
		return socks[0]
	}
	top, equal := -1, 0
	for _, s := range socks {
		score := s.fits(dst.Addr(), src)
		switch {
		case score < 0 || score < top:
		case score > top:
			best, top, equal = s, score, 1
		default: // equal to best
			equal++
			best = s
		}
	}
	if equal < 2 || !best.opts.ReusePort {
		return best
	}
	at := flow(dst, src) % uint64(equal)
	for _, s := range socks {
		if s.fits(dst.Addr(), src) == top {
			if at == 0 {
				return s
			}
			at--
		}
	}
	return best
}

// fits returns the score of a socket for a datagram. It is negative if the socket does not
// receive it.
func (s *sock) fits(dst netip.Addr, src netip.AddrPort) (score int) {
	if !s.family.Has(dst) {
		return -1
	}
	if s.family == socket.IPv4 {
		score++
	}
	if !s.local.IsUnspecified() {
		if s.local.WithZone("") != dst {
			return -1
		}
		score += 4
	}
	if s.peer.IsValid() {
		if bare(s.peer) != src {
			return -1
		}
		score += 8
	}
	return score
}

// bare returns a without its zone.
func bare(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Zone() == "" {
		return a
	}
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}

// flow returns a hash of the addresses and ports of a flow.
func flow(a, b netip.AddrPort) uint64 {
	h := uint64(1)
	for _, x := range []netip.AddrPort{a, b} {
		as := x.Addr().As16()
		for i := 0; i < 16; i += 8 {
			var v uint64
			for _, c := range as[i : i+8] {
				v = v<<8 | uint64(c)
			}
			h = mix(h, v)
		}
		h = mix(h, uint64(x.Port()))
	}
	return h
}
