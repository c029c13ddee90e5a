//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package cmsg

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

func (w *writer) putIPv4(h *Header) {
	if h.To.Is4() {
		if data := w.add(unix.IPPROTO_IP, unix.IP_RECVDSTADDR, 4); data != nil {
			a := h.To.As4()
			copy(data, a[:])
		}
	}
}

func (s *Sending) parseIPv4(typ int, data []byte) bool {
	switch {
	case typ == unix.IP_RECVDSTADDR && len(data) >= 4: // the same number as IP_SENDSRCADDR
		s.leaveFrom(netip.AddrFrom4([4]byte(data[:4])), 0)
	case typ == unix.IP_TOS:
		return s.class(data)
	default:
		return s.parseIPv4System(typ, data)
	}
	return true
}

func (s *Sending) parseSystem(int, int, []byte) bool { return false }
