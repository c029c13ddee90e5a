package cmsg

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

func (h *Header) put(b []byte) (n int, all bool) {
	w := native.writer(b)
	if h.IPv4 {
		h.putIPv4(&w)
	}
	if !h.IPv4 || h.Both {
		native6.put(&w, h)
	}
	return w.written()
}

func (h *Header) putIPv4(w *writer) {
	if h.HasClass {
		w.byte(unix.IPPROTO_IP, unix.IP_TOS, h.TrafficClass)
	}
	if h.To.Is4() {
		if data := w.message(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo); data != nil {
			a := h.To.As4()
			ne.PutUint32(data, uint32(h.IfIndex))
			if h.Own {
				copy(data[4:8], a[:])
			}
			copy(data[8:12], a[:])
		}
	}
	if h.TTL != 0 {
		w.uint32(unix.IPPROTO_IP, unix.IP_TTL, uint32(h.TTL))
	}
}

func (s *Sending) parse(b []byte) bool {
	for len(b) >= unix.SizeofCmsghdr {
		level, typ, data, rest, ok := native.next(b)
		switch {
		case !ok:
			return false
		case level == unix.IPPROTO_IP && typ == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			s.leaveFrom(netip.AddrFrom4([4]byte(data[4:8])), int(ne.Uint32(data)))
		case level == unix.IPPROTO_IP && typ == unix.IP_TOS:
			ok = s.class(data)
		case level == unix.IPPROTO_IP && typ == unix.IP_TTL && len(data) >= 4:
			s.TTL, ok = octet(data)
		case level == unix.SOL_UDP && typ == unix.UDP_SEGMENT && len(data) >= 2:
			s.Segment = int(ne.Uint16(data))
		default:
			ok = level == unix.IPPROTO_IPV6 && native6.parseSending(typ, data, s)
		}
		if !ok {
			return false
		}
		b = rest
	}
	return true
}
