package sys

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/windows"
)

// From ws2ipdef.h; the number is the same for both families.
const dontFrag = 14

func dontFragment(rc syscall.RawConn) error {
	return onFD(rc, func(h windows.Handle) error {
		if inet6(h) {
			_ = windows.SetsockoptInt(h, windows.IPPROTO_IP, dontFrag, 1)
			return sysErr("setsockopt", windows.SetsockoptInt(h, windows.IPPROTO_IPV6, dontFrag, 1))
		}
		return sysErr("setsockopt", windows.SetsockoptInt(h, windows.IPPROTO_IP, dontFrag, 1))
	})
}

// MTU implements socket.Socket; it is not known here.
func (c *Conn) MTU(netip.AddrPort) int { return 0 }
