package sys

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// setTrafficClass: Windows takes IP_TOS and ignores it, unless a registry value
// says otherwise; policies set the DSCP instead.
func setTrafficClass(syscall.RawConn, uint8) error { return errors.ErrUnsupported }

func setTTL(rc syscall.RawConn, ttl uint8) error {
	return onFD(rc, func(h windows.Handle) error {
		err := windows.SetsockoptInt(h, windows.IPPROTO_IP, windows.IP_TTL, int(ttl))
		if inet6(h) {
			err = windows.SetsockoptInt(h, windows.IPPROTO_IPV6, windows.IPV6_UNICAST_HOPS, int(ttl))
		}
		return sysErr("setsockopt", err)
	})
}

// haveControlMessages: those of programs are not passed on here.
const haveControlMessages = false
