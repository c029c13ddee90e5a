package cmsg

import "net/netip"

// bsd describes the control messages of macOS or one of the BSDs.
type bsd struct {
	layout
	v6         ipv6
	iface, ttl int32 // IP_RECVIF, IP_RECVTTL
	wanted6    Wanted
	pktinfo    int32 // IP_PKTINFO, if it sets the source; 0: IP_SENDSRCADDR does
	class      int   // size of IP_TOS; 0: a message can't set the traffic class
	sockaddrDL int   // sizeof(struct sockaddr_dl)
}

// Numbers of netinet/in.h and netinet6/in6.h. The files of each system compare them with
// package unix. FreeBSD, NetBSD, OpenBSD and DragonFly use one number to report the destination
// (IP_RECVDSTADDR) and to set the source (IP_SENDSRCADDR). macOS uses it for the destination
// only, and sets the source with IP_PKTINFO.
const (
	bsdTOS          = 3  // IP_TOS
	bsdRecvDstAddr  = 7  // IP_RECVDSTADDR, IP_SENDSRCADDR
	bsdRecvIf       = 20 // IP_RECVIF, except on OpenBSD
	bsdRecvPktinfo6 = 36 // IPV6_RECVPKTINFO, except on macOS
	bsdRecvHopLimit = 37 // IPV6_RECVHOPLIMIT
	bsdRecvTClass   = 57 // IPV6_RECVTCLASS, except on macOS
	bsdPktinfo6     = 46 // IPV6_PKTINFO
	bsdHopLimit     = 47 // IPV6_HOPLIMIT
	bsdTClass       = 61 // IPV6_TCLASS, except on macOS

	macRecvTTL      = 24
	macRecvPktinfo6 = 61
	macRecvTClass   = 35
	macTClass       = 36
	macPktinfo      = 26 // IP_PKTINFO
	freeRecvTTL     = 65 // also DragonFly's
	netRecvTTL      = 23
	openRecvIf      = 30
	openRecvTTL     = 31

	cmsghdrBSD     = 12 // sizeof(struct cmsghdr): cmsg_len is a socklen_t
	sizeofPktinfo4 = 12 // struct in_pktinfo of macOS
	macSockaddrDL  = 20
	freeSockaddrDL = 54 // also DragonFly's
	netSockaddrDL  = 20
	openSockaddrDL = 32
)

// The systems, without their alignment, which alignedTo adds. It is 4 bytes on macOS and on
// DragonFly before 5.8, 8 on OpenBSD and NetBSD on arm, 16 on NetBSD on arm64, and otherwise the
// size of a pointer.
var (
	macOS = bsd{
		v6:      ipv6{bsdPktinfo6, macTClass, bsdHopLimit},
		wanted6: Wanted{Level: levelIPv6, Destination: macRecvPktinfo6, Others: []int{bsdRecvHopLimit, macRecvTClass}},
		iface:   bsdRecvIf, ttl: macRecvTTL, pktinfo: macPktinfo, class: 4, sockaddrDL: macSockaddrDL,
	}
	freeBSD   = bsd{v6: bsdIPv6, wanted6: bsdWanted6, iface: bsdRecvIf, ttl: freeRecvTTL, class: 1, sockaddrDL: freeSockaddrDL} // class: FreeBSD 13.0
	dragonFly = bsd{v6: bsdIPv6, wanted6: bsdWanted6, iface: bsdRecvIf, ttl: freeRecvTTL, sockaddrDL: freeSockaddrDL}
	netBSD    = bsd{v6: bsdIPv6, wanted6: bsdWanted6, iface: bsdRecvIf, ttl: netRecvTTL, sockaddrDL: netSockaddrDL}
	openBSD   = bsd{v6: bsdIPv6, wanted6: bsdWanted6, iface: openRecvIf, ttl: openRecvTTL, sockaddrDL: openSockaddrDL}

	bsdIPv6    = ipv6{bsdPktinfo6, bsdTClass, bsdHopLimit}
	bsdWanted6 = Wanted{Level: levelIPv6, Destination: bsdRecvPktinfo6, Others: []int{bsdRecvHopLimit, bsdRecvTClass}}
)

// alignedTo returns s with the alignment of one processor.
func (s bsd) alignedTo(align int) *bsd {
	s.layout = layout{length: cmsghdrBSD - 8, align: align}
	return &s
}

func (s *bsd) wanted(v6 bool) Wanted {
	if v6 {
		return s.wanted6
	}
	return Wanted{Level: levelIP, Destination: bsdRecvDstAddr, Others: []int{int(s.iface), int(s.ttl)}}
}

func (s *bsd) parse(b []byte, r *Received) bool {
	for len(b) >= s.header() {
		level, typ, data, rest, ok := s.next(b)
		if !ok {
			return false
		}
		switch level {
		case levelIP:
			s.parseIPv4(typ, data, r)
		case levelIPv6:
			s.v6.parse(typ, data, r)
		}
		b = rest
	}
	return true
}

func (s *bsd) parseIPv4(typ int32, data []byte, r *Received) {
	switch {
	case typ == bsdRecvDstAddr && len(data) >= 4:
		r.To = netip.AddrFrom4([4]byte(data[:4]))
		r.Own = !r.To.IsMulticast() && r.To != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	case typ == s.iface && len(data) >= 4:
		// struct sockaddr_dl { u_char sdl_len; u_char sdl_family; u_short sdl_index; ... };
		r.IfIndex = int(ne.Uint16(data[2:]))
	case typ == s.ttl:
		r.TTL, _ = octet(data)
	}
}

func (s *bsd) addSource(b []byte, src netip.Addr) []byte {
	switch {
	case !src.Is4():
		return s.v6.addPktinfo(s.layout, b, src, 0)
	case s.pktinfo != 0:
		// struct in_pktinfo { unsigned int ipi_ifindex; struct in_addr ipi_spec_dst, ipi_addr; };
		b, data := s.add(b, levelIP, s.pktinfo, sizeofPktinfo4)
		a := src.As4()
		copy(data[4:], a[:])
		return b
	}
	b, data := s.add(b, levelIP, bsdRecvDstAddr, 4)
	a := src.As4()
	copy(data, a[:])
	return b
}

// addInterface adds nothing for IPv4: not all of these systems take IP_PKTINFO.
func (s *bsd) addInterface(b []byte, src netip.Addr, ifindex int, v6 bool) ([]byte, bool) {
	if !v6 {
		return b, false
	}
	return s.v6.addPktinfo(s.layout, b, src, ifindex), true
}

func (s *bsd) addClass(b []byte, class uint8, v6 bool) ([]byte, bool) {
	switch {
	case v6:
		return s.addUint32(b, levelIPv6, s.v6.class, uint32(class)), true
	case s.class == 0:
		return b, false
	case s.class == 4:
		return s.addUint32(b, levelIP, bsdTOS, uint32(class)), true
	}
	b, data := s.add(b, levelIP, bsdTOS, s.class)
	data[0] = class
	return b, true
}

// addTTL adds nothing for IPv4: none of these systems takes IP_TTL as a control message.
func (s *bsd) addTTL(b []byte, ttl uint8, v6 bool) ([]byte, bool) {
	if !v6 {
		return b, false
	}
	return s.addUint32(b, levelIPv6, s.v6.hopLimit, uint32(ttl)), true
}

func (s *bsd) putIPv4(w *writer, h *Header) {
	if h.To.Is4() {
		if data := w.message(levelIP, bsdRecvDstAddr, 4); data != nil {
			a := h.To.As4()
			copy(data, a[:])
		}
	}
	if h.TTL != 0 {
		w.byte(levelIP, s.ttl, h.TTL)
	}
	if h.IfIndex != 0 {
		if data := w.message(levelIP, s.iface, s.sockaddrDL); data != nil {
			data[0], data[1] = uint8(s.sockaddrDL), 18 // sdl_len, AF_LINK
			ne.PutUint16(data[2:], uint16(h.IfIndex))
		}
	}
}

func (s *bsd) putHeader(h *Header, b []byte) (n int, all bool) {
	w := s.writer(b)
	if h.IPv4 {
		s.putIPv4(&w, h)
	}
	if !h.IPv4 || h.Both {
		s.v6.put(&w, h)
	}
	return w.written()
}

func (s *bsd) parseSending(b []byte, to *Sending) bool {
	for len(b) >= s.header() {
		level, typ, data, rest, ok := s.next(b)
		switch {
		case !ok:
			return false
		case level == levelIP && typ == bsdRecvDstAddr && len(data) >= 4:
			to.leaveFrom(netip.AddrFrom4([4]byte(data[:4])), 0)
		case level == levelIP && typ == bsdTOS:
			ok = to.class(data)
		case level == levelIP && s.pktinfo != 0 && typ == s.pktinfo && len(data) >= sizeofPktinfo4:
			to.leaveFrom(netip.AddrFrom4([4]byte(data[4:8])), int(ne.Uint32(data)))
		default:
			ok = level == levelIPv6 && s.v6.parseSending(typ, data, to)
		}
		if !ok {
			return false
		}
		b = rest
	}
	return true
}
