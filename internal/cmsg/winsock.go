package cmsg

import (
	"encoding/binary"
	"net/netip"
)

// Control messages of Windows (WSARecvMsg, WSASendMsg), here so that they are tested on
// every system. The numbers are those of ws2ipdef.h and ws2def.h; each integer is an int
// of 32 bits. Processors that run Windows are little-endian.
const (
	winIPProtoIP   = 0
	winIPProtoUDP  = 17
	winIPProtoIPv6 = 41

	winTOS       = 3  // IP_TOS
	winTTL       = 4  // IP_TTL
	winPktinfo   = 19 // IP_PKTINFO, IPV6_PKTINFO
	winHopLimit  = 21 // IP_HOPLIMIT, IPV6_HOPLIMIT
	winTClass    = 39 // IPV6_TCLASS
	winECN       = 50 // IP_ECN, IPV6_ECN
	winMsgSize   = 2  // UDP_SEND_MSG_SIZE
	winCoalesced = 3  // UDP_COALESCED_INFO
	winPktinfo4  = 8  // struct in_pktinfo { IN_ADDR ipi_addr; ULONG ipi_ifindex; }
	winPktinfo6  = 20 // struct in6_pktinfo { IN6_ADDR ipi6_addr; ULONG ipi6_ifindex; }
)

// winsock is the size of SIZE_T, 4 or 8 bytes, to which everything is aligned:
//
//	struct WSACMSGHDR { SIZE_T cmsg_len; INT cmsg_level; INT cmsg_type; };
type winsock int

func (w winsock) header() int       { return int(w) + 8 }
func (w winsock) aligned(n int) int { return (n + int(w) - 1) &^ (int(w) - 1) }
func (w winsock) space(n int) int   { return w.aligned(w.aligned(w.header()) + n) }

func (w winsock) length(b []byte) uint64 {
	if w == 4 {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// next takes the first message off b. ok is false when b is malformed.
func (w winsock) next(b []byte) (level, typ int32, data, rest []byte, ok bool) {
	n, start := w.length(b), uint64(w.aligned(w.header()))
	if n < start || n > uint64(len(b)) {
		return 0, 0, nil, nil, false
	}
	level = int32(binary.LittleEndian.Uint32(b[w:]))
	typ = int32(binary.LittleEndian.Uint32(b[w+4:]))
	return level, typ, b[start:n], b[min(w.aligned(int(n)), len(b)):], true
}

// add appends a message with n zero bytes and returns those bytes too.
func (w winsock) add(b []byte, level, typ uint32, n int) (all, data []byte) {
	start, at := len(b), len(b)+w.aligned(w.header())
	for range w.space(n) {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(at-start+n))
	binary.LittleEndian.PutUint32(b[start+int(w):], level)
	binary.LittleEndian.PutUint32(b[start+int(w)+4:], typ)
	return b, b[at : at+n]
}

func (w winsock) addUint32(b []byte, level, typ, value uint32) []byte {
	b, data := w.add(b, level, typ, 4)
	binary.LittleEndian.PutUint32(data, value)
	return b
}

// addPktinfo appends the source address, unless it is invalid, and the interface, unless
// it is 0; v6 is the family of the destination.
func (w winsock) addPktinfo(b []byte, src netip.Addr, ifindex int, v6 bool) []byte {
	if v6 {
		b, data := w.add(b, winIPProtoIPv6, winPktinfo, winPktinfo6)
		if src.IsValid() {
			a := src.As16()
			copy(data, a[:])
		}
		binary.LittleEndian.PutUint32(data[16:], uint32(ifindex))
		return b
	}
	b, data := w.add(b, winIPProtoIP, winPktinfo, winPktinfo4)
	if src.IsValid() {
		a := src.Unmap().As4()
		copy(data, a[:])
	}
	binary.LittleEndian.PutUint32(data[4:], uint32(ifindex))
	return b
}

// addClass appends the ECN: there is no message for the DSCP.
func (w winsock) addClass(b []byte, class uint8, v6 bool) (all []byte, ok bool) {
	switch {
	case class > 3:
		return b, false
	case v6:
		return w.addUint32(b, winIPProtoIPv6, winECN, uint32(class)), true
	}
	return w.addUint32(b, winIPProtoIP, winECN, uint32(class)), true
}

// addSegment appends the message that cuts a payload into datagrams of size bytes.
func (w winsock) addSegment(b []byte, size uint32) []byte {
	return w.addUint32(b, winIPProtoUDP, winMsgSize, size)
}

func (w winsock) parse(b []byte, r *Received) bool {
	for len(b) >= w.header() {
		level, typ, data, rest, ok := w.next(b)
		if !ok {
			return false
		}
		switch {
		case level == winIPProtoIP:
			r.winIPv4(typ, data)
		case level == winIPProtoIPv6:
			r.winIPv6(typ, data)
		case level == winIPProtoUDP && typ == winCoalesced && len(data) >= 4:
			r.Segment = int(binary.LittleEndian.Uint32(data) & (1<<16 - 1)) // longer than no datagram
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
		r.IfIndex = int(binary.LittleEndian.Uint32(data[4:]))
	case typ == winTOS && len(data) >= 1:
		r.TrafficClass, r.HasClass = data[0], true
	default:
		r.winBoth(typ, data)
	}
}

func (r *Received) winIPv6(typ int32, data []byte) {
	switch {
	case typ == winPktinfo && len(data) >= winPktinfo6:
		r.To = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		r.Own = !r.To.IsMulticast()
		r.IfIndex = int(binary.LittleEndian.Uint32(data[16:]))
	case typ == winTClass && len(data) >= 1:
		r.TrafficClass, r.HasClass = data[0], true
	default:
		r.winBoth(typ, data)
	}
}

// winBoth reads what is the same in both families. The hop limit of IPv4 is documented
// under one name, and comes under the other as well.
func (r *Received) winBoth(typ int32, data []byte) {
	switch {
	case (typ == winHopLimit || typ == winTTL) && len(data) >= 1:
		r.TTL = data[0]
	case typ == winECN && len(data) >= 1:
		r.TrafficClass, r.HasClass = r.TrafficClass&^3|data[0]&3, true
	}
}

func (w winsock) put(h *Header, b []byte) (n int, all bool) {
	all = true
	one := func(message []byte) {
		if n+len(message) > len(b) {
			all = false
		} else if all {
			n += copy(b[n:], message)
		}
	}
	level, typ, class := uint32(winIPProtoIPv6), uint32(winTClass), h.TrafficClass
	if h.IPv4 {
		level, typ = winIPProtoIP, winTOS
	}
	if h.To.IsValid() && len(b) > 0 {
		one(w.addPktinfo(nil, h.To, h.IfIndex, !h.IPv4))
	}
	if h.TTL != 0 && len(b) > 0 {
		one(w.addUint32(nil, level, winHopLimit, uint32(h.TTL)))
	}
	if h.HasClass && len(b) > 0 {
		one(w.addUint32(nil, level, typ, uint32(class)))
	}
	return n, all
}

func (w winsock) parseSending(b []byte, s *Sending) bool {
	for len(b) >= w.header() {
		level, typ, data, rest, ok := w.next(b)
		switch {
		case !ok:
			return false
		case level == winIPProtoIP && typ == winPktinfo && len(data) >= winPktinfo4:
			s.leaveFrom(netip.AddrFrom4([4]byte(data[:4])), int(binary.LittleEndian.Uint32(data[4:])))
		case level == winIPProtoIPv6 && typ == winPktinfo && len(data) >= winPktinfo6:
			s.leaveFrom(netip.AddrFrom16([16]byte(data[:16])), int(binary.LittleEndian.Uint32(data[16:])))
		case level == winIPProtoUDP && typ == winMsgSize && len(data) >= 4:
			s.Segment = int(binary.LittleEndian.Uint32(data) & (1<<16 - 1))
		case (level == winIPProtoIP || level == winIPProtoIPv6) && typ == winECN && len(data) >= 1:
			s.TrafficClass, s.HasClass = data[0]&3, true
		default:
			return false
		}
		b = rest
	}
	return true
}
