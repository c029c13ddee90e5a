package cmsg

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

func (w *writer) putIPv4(h *Header) {
	if h.HasClass {
		if data := w.add(unix.IPPROTO_IP, unix.IP_TOS, 1); data != nil {
			data[0] = h.TrafficClass
		}
	}
	if h.To.Is4() {
		if data := w.add(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo); data != nil {
			a := h.To.As4()
			ne.PutUint32(data, uint32(h.IfIndex))
			if h.Own {
				copy(data[4:8], a[:])
			}
			copy(data[8:12], a[:])
		}
	}
	if h.TTL != 0 {
		w.addUint32(unix.IPPROTO_IP, unix.IP_TTL, uint32(h.TTL))
	}
}

func (s *Sending) parseIPv4(typ int, data []byte) bool {
	switch {
	case typ == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		s.leaveFrom(netip.AddrFrom4([4]byte(data[4:8])), int(ne.Uint32(data)))
	case typ == unix.IP_TOS:
		return s.class(data)
	case typ == unix.IP_TTL && len(data) >= 4:
		s.TTL = uint8(ne.Uint32(data))
	default:
		return false
	}
	return true
}

func (s *Sending) parseSystem(level, typ int, data []byte) bool {
	if level != unix.SOL_UDP || typ != unix.UDP_SEGMENT || len(data) < 2 {
		return false
	}
	s.Segment = int(ne.Uint16(data))
	return true
}
