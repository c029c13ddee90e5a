//go:build unix && !aix && !solaris

package cmsg

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	msgTrunc  = unix.MSG_TRUNC
	msgCtrunc = unix.MSG_CTRUNC
)

// writer puts control messages into memory that does not grow.
type writer struct {
	b    []byte
	full bool // one had no room
}

// add makes room for the n bytes of a message; nil: there is none.
func (w *writer) add(level, typ int32, n int) (data []byte) {
	if len(w.b)+unix.CmsgSpace(n) > cap(w.b) {
		w.full = true
		return nil
	}
	w.b, data = add(w.b, level, typ, n)
	return data
}

func (w *writer) addUint32(level, typ int32, v uint32) {
	if data := w.add(level, typ, 4); data != nil {
		ne.PutUint32(data, v)
	}
}

func (h *Header) put(b []byte) (n int, all bool) {
	if len(b) == 0 {
		return 0, true
	}
	w := writer{b: b[:0:len(b)]}
	if h.IPv4 {
		w.putIPv4(h)
	}
	if !h.IPv4 || h.Both {
		w.putIPv6(h)
	}
	return len(w.b), !w.full
}

// putIPv6 is also for an IPv4 datagram on a socket of both families: of that, systems
// tell the address in this form, too.
func (w *writer) putIPv6(h *Header) {
	if !h.IPv4 && h.HasClass {
		w.addUint32(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, uint32(h.TrafficClass))
	}
	if h.To.IsValid() {
		if data := w.add(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo); data != nil {
			a := h.To.As16()
			copy(data, a[:])
			ne.PutUint32(data[16:], uint32(h.IfIndex))
		}
	}
	if !h.IPv4 && h.TTL != 0 {
		w.addUint32(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, uint32(h.TTL))
	}
}

func (s *Sending) parse(b []byte) bool {
	for len(b) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return false
		}
		known := false
		switch h.Level {
		case unix.IPPROTO_IP:
			known = s.parseIPv4(int(h.Type), data)
		case unix.IPPROTO_IPV6:
			known = s.parseIPv6(int(h.Type), data)
		default:
			known = s.parseSystem(int(h.Level), int(h.Type), data)
		}
		if !known {
			return false
		}
		b = rest
	}
	return true
}

func (s *Sending) parseIPv6(typ int, data []byte) bool {
	switch {
	case typ == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		s.leaveFrom(netip.AddrFrom16([16]byte(data[:16])), int(ne.Uint32(data[16:])))
	case typ == unix.IPV6_TCLASS && len(data) >= 4:
		s.TrafficClass, s.HasClass = uint8(ne.Uint32(data)), true
	case typ == unix.IPV6_HOPLIMIT && len(data) >= 4:
		s.TTL = uint8(ne.Uint32(data))
	default:
		return false
	}
	return true
}

// class reads a traffic class, which systems take as a byte or as an int.
func (s *Sending) class(data []byte) bool {
	switch {
	case len(data) >= 4:
		s.TrafficClass = uint8(ne.Uint32(data))
	case len(data) >= 1:
		s.TrafficClass = data[0]
	default:
		return false
	}
	s.HasClass = true
	return true
}
