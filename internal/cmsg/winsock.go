package cmsg

import "net/netip"

// winsock describes the control messages of Windows (WSARecvMsg, WSASendMsg):
//
//	struct WSACMSGHDR { SIZE_T cmsg_len; INT cmsg_level; INT cmsg_type; };
//
// The numbers are those of ws2ipdef.h and ws2def.h; each integer is an int of 32 bits.
type winsock struct{ layout }

// winsockOf returns them for a SIZE_T of 4 or 8 bytes, which is also the alignment.
func winsockOf(size int) winsock { return winsock{layout{length: size, align: size}} }

const (
	winTOS       = 3  // IP_TOS
	winTTL       = 4  // IP_TTL
	winPktinfo   = 19 // IP_PKTINFO, IPV6_PKTINFO
	winHopLimit  = 21 // IP_HOPLIMIT, IPV6_HOPLIMIT
	winTClass    = 39 // IPV6_TCLASS
	winECN       = 50 // IP_ECN, IPV6_ECN
	winRecvClass = 40 // IP_RECVTOS, IPV6_RECVTCLASS
	winMsgSize   = 2  // UDP_SEND_MSG_SIZE
	winCoalesced = 3  // UDP_COALESCED_INFO
	winPktinfo4  = 8  // struct in_pktinfo { IN_ADDR ipi_addr; ULONG ipi_ifindex; }
)

// winWanted returns the options to set. Except for the traffic class, an option has the number
// of the message that it enables. IP_RECVECN needs Windows 10 version 2004 or Server 2022.
func winWanted(v6 bool) Wanted {
	w := Wanted{Level: levelIP, Destination: winPktinfo, ECN: winECN, Others: []int{winHopLimit, winRecvClass}}
	if v6 {
		w.Level = levelIPv6
	}
	return w
}

var winIPv6 = ipv6{winPktinfo, winTClass, winHopLimit}

// addPktinfo appends the source address, unless it is invalid, and the interface, unless
// it is 0; v6 is the family of the destination.
func (w winsock) addPktinfo(b []byte, src netip.Addr, ifindex int, v6 bool) []byte {
	if v6 {
		return winIPv6.addPktinfo(w.layout, b, src, ifindex)
	}
	b, data := w.add(b, levelIP, winPktinfo, winPktinfo4)
	putWinPktinfo4(data, src, ifindex)
	return b
}

func putWinPktinfo4(data []byte, a netip.Addr, ifindex int) {
	if a.IsValid() {
		a := a.Unmap().As4()
		copy(data, a[:])
	}
	ne.PutUint32(data[4:], uint32(ifindex))
}

// addClass appends the ECN. There is no message for the DSCP, so for others ok is false.
func (w winsock) addClass(b []byte, class uint8, v6 bool) (all []byte, ok bool) {
	switch {
	case class > 3:
		return b, false
	case v6:
		return w.addUint32(b, levelIPv6, winECN, uint32(class)), true
	}
	return w.addUint32(b, levelIP, winECN, uint32(class)), true
}

// addSegment appends the message that cuts a payload into datagrams of size bytes.
func (w winsock) addSegment(b []byte, size uint32) []byte {
	return w.addUint32(b, levelUDP, winMsgSize, size)
}

func (w winsock) parse(b []byte, r *Received) bool {
	for len(b) >= w.header() {
		level, typ, data, rest, ok := w.next(b)
		if !ok {
			return false
		}
		switch {
		case level == levelIP:
			r.winIPv4(typ, data)
		case level == levelIPv6:
			if !winIPv6.parse(typ, data, r) {
				r.winBoth(typ, data)
			}
		case level == levelUDP && typ == winCoalesced && len(data) >= 4:
			r.Segment = int(ne.Uint32(data) & (1<<16 - 1)) // no datagram is longer
		}
		b = rest
	}
	return true
}

func (r *Received) winIPv4(typ int32, data []byte) {
	switch {
	case typ == winPktinfo && len(data) >= winPktinfo4:
		r.To = netip.AddrFrom4([4]byte(data[:4]))
		r.Own = !r.To.IsMulticast() && r.To != netip.AddrFrom4([4]byte{255, 255, 255, 255})
		r.IfIndex = int(ne.Uint32(data[4:]))
	case typ == winTOS:
		r.TrafficClass, r.HasClass = octet(data)
	default:
		r.winBoth(typ, data)
	}
}

// winBoth reads the messages that both families have. An IPv4 hop limit arrives as IP_HOPLIMIT or
// as IP_TTL.
func (r *Received) winBoth(typ int32, data []byte) {
	switch typ {
	case winHopLimit, winTTL:
		r.TTL, _ = octet(data)
	case winECN:
		if ecn, ok := octet(data); ok {
			r.TrafficClass, r.HasClass = r.TrafficClass&^3|ecn&3, true
		}
	}
}

func (w winsock) putHeader(h *Header, b []byte) (n int, all bool) {
	to := w.writer(b)
	if !h.IPv4 {
		winIPv6.put(&to, h)
		return to.written()
	}
	if h.To.IsValid() {
		if data := to.message(levelIP, winPktinfo, winPktinfo4); data != nil {
			putWinPktinfo4(data, h.To, h.IfIndex)
		}
	}
	if h.TTL != 0 {
		to.uint32(levelIP, winHopLimit, uint32(h.TTL))
	}
	if h.HasClass {
		to.uint32(levelIP, winTOS, uint32(h.TrafficClass))
	}
	return to.written()
}

func (w winsock) parseSending(b []byte, s *Sending) bool {
	for len(b) >= w.header() {
		level, typ, data, rest, ok := w.next(b)
		switch {
		case !ok:
			return false
		case level == levelIP && typ == winPktinfo && len(data) >= winPktinfo4:
			s.leaveFrom(netip.AddrFrom4([4]byte(data[:4])), int(ne.Uint32(data[4:])))
		case level == levelIPv6 && typ == winPktinfo && len(data) >= sizeofPktinfo6:
			s.leaveFrom(netip.AddrFrom16([16]byte(data[:16])), int(ne.Uint32(data[16:])))
		case level == levelUDP && typ == winMsgSize && len(data) >= 4:
			s.Segment = int(ne.Uint32(data) & (1<<16 - 1))
		case (level == levelIP || level == levelIPv6) && typ == winECN:
			ok = s.class(data)
			s.TrafficClass &= 3
		default:
			ok = false
		}
		if !ok {
			return false
		}
		b = rest
	}
	return true
}
