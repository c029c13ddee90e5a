package cmsg

import "golang.org/x/sys/unix"

func appendIPv4Source(b []byte, src [4]byte) []byte {
	// struct in_pktinfo { unsigned int ipi_ifindex; struct in_addr ipi_spec_dst, ipi_addr; };
	b, data := add(b, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	copy(data[4:8], src[:])
	return b
}

func appendIPv4Class(b []byte, class uint8) ([]byte, bool) {
	b, data := add(b, unix.IPPROTO_IP, unix.IP_TOS, 4)
	ne.PutUint32(data, uint32(class))
	return b, true
}
