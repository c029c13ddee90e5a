package sockettest

import "golang.org/x/sys/unix"

// LoopbackCoalesces reports whether a segmented send over loopback arrives as one packet.
// The kernel may have UDP_SEGMENT and UDP_GRO, and cut the packets of loopback all the same
// (Linux 5.10: NETIF_F_GSO_SOFTWARE without NETIF_F_GSO_UDP_L4).
func LoopbackCoalesces() bool {
	r, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(r)
	if unix.Bind(r, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) != nil || unix.SetsockoptInt(r, unix.SOL_UDP, unix.UDP_GRO, 1) != nil {
		return false
	}
	to, err := unix.Getsockname(r)
	if err != nil {
		return false
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(s)
	if unix.SetsockoptInt(s, unix.SOL_UDP, unix.UDP_SEGMENT, 1) != nil || unix.Sendto(s, []byte("ab"), 0, to) != nil {
		return false
	}
	n, _, err := unix.Recvfrom(r, make([]byte, 3), 0)
	return err == nil && n == 2
}
