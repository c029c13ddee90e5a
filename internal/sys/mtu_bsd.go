//go:build darwin || freebsd

package sys

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// dontFragment: a socket for both families takes both options (macOS 11).
func dontFragment(rc syscall.RawConn) error {
	return onFD(rc, func(fd int) error {
		if inet6(fd) {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_DONTFRAG, 1)
			return sysErr("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
		}
		return sysErr("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_DONTFRAG, 1))
	})
}

// MTU implements socket.Socket; it is not known here.
func (c *Conn) MTU(netip.AddrPort) int { return 0 }
