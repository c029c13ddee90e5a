//go:build dragonfly || freebsd || netbsd || openbsd

package cmsg

import "golang.org/x/sys/unix"

func appendIPv4Source(b []byte, src [4]byte) []byte {
	b, data := add(b, unix.IPPROTO_IP, unix.IP_RECVDSTADDR, 4)
	copy(data, src[:])
	return b
}
