package cmsg

import "net/netip"

// ipv6 has the types of IPv6's control messages (RFC 3542, section 4). Their data have the same
// form on all systems.
type ipv6 struct{ pktinfo, class, hopLimit int32 }

// struct in6_pktinfo { struct in6_addr ipi6_addr; unsigned int ipi6_ifindex; };
const sizeofPktinfo6 = 20

// parse reads one message. known reports whether it has one of the three types.
func (v *ipv6) parse(typ int32, data []byte, r *Received) (known bool) {
	switch {
	case typ == v.pktinfo && len(data) >= sizeofPktinfo6:
		r.To = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		r.Own = !r.To.IsMulticast()
		r.IfIndex = int(ne.Uint32(data[16:]))
	case typ == v.class:
		r.TrafficClass, r.HasClass = octet(data)
	case typ == v.hopLimit:
		r.TTL, _ = octet(data)
	default:
		return false
	}
	return true
}

// addPktinfo appends the source, unless it is invalid, and the interface, unless it is 0.
func (v *ipv6) addPktinfo(l layout, b []byte, src netip.Addr, ifindex int) []byte {
	b, data := l.add(b, levelIPv6, v.pktinfo, sizeofPktinfo6)
	putPktinfo6(data, src, ifindex)
	return b
}

func putPktinfo6(data []byte, a netip.Addr, ifindex int) {
	if a.IsValid() {
		a := a.As16()
		copy(data, a[:])
	}
	ne.PutUint32(data[16:], uint32(ifindex))
}

// put writes the messages of an IPv6 datagram. It writes only the address and the interface of an
// IPv4 datagram on a socket of both families, which systems also report in this form.
func (v *ipv6) put(w *writer, h *Header) {
	if !h.IPv4 && h.HasClass {
		w.uint32(levelIPv6, v.class, uint32(h.TrafficClass))
	}
	if h.To.IsValid() {
		if data := w.message(levelIPv6, v.pktinfo, sizeofPktinfo6); data != nil {
			putPktinfo6(data, h.To, h.IfIndex)
		}
	}
	if !h.IPv4 && h.TTL != 0 {
		w.uint32(levelIPv6, v.hopLimit, uint32(h.TTL))
	}
}

// parseSending reads one message that a program passed. known is as for parse.
func (v *ipv6) parseSending(typ int32, data []byte, s *Sending) (known bool) {
	switch {
	case typ == v.pktinfo && len(data) >= sizeofPktinfo6:
		s.leaveFrom(netip.AddrFrom16([16]byte(data[:16])), int(ne.Uint32(data[16:])))
	case typ == v.class:
		return s.class(data)
	case typ == v.hopLimit && len(data) >= 4:
		s.TTL, known = octet(data)
		return known
	default:
		return false
	}
	return true
}
