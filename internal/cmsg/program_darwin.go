package cmsg

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

func (s *Sending) parseIPv4System(typ int, data []byte) bool {
	if typ != unix.IP_PKTINFO || len(data) < unix.SizeofInet4Pktinfo {
		return false
	}
	s.leaveFrom(netip.AddrFrom4([4]byte(data[4:8])), int(ne.Uint32(data)))
	return true
}
