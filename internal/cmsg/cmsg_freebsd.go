package cmsg

import "golang.org/x/sys/unix"

// appendIPv4Class: a u_char (FreeBSD 13.0).
func appendIPv4Class(b []byte, class uint8) ([]byte, bool) {
	b, data := add(b, unix.IPPROTO_IP, unix.IP_TOS, 1)
	data[0] = class
	return b, true
}
