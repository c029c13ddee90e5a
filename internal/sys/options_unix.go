//go:build unix

package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func setTrafficClass(rc syscall.RawConn, class uint8) error {
	return setFamilies(rc, unix.IP_TOS, unix.IPV6_TCLASS, int(class))
}

func setTTL(rc syscall.RawConn, ttl uint8) error {
	return setFamilies(rc, unix.IP_TTL, unix.IPV6_UNICAST_HOPS, int(ttl))
}

// setFamilies sets an option for what the socket can send to. A socket of both
// families needs both options; on one of IPv6 alone some systems refuse the first.
func setFamilies(rc syscall.RawConn, option4, option6, value int) error {
	return onFD(rc, func(fd int) error {
		err := setOption(fd, unix.IPPROTO_IP, option4, value)
		if inet6(fd) {
			err = setOption(fd, unix.IPPROTO_IPV6, option6, value)
		}
		return sysErr("setsockopt", err)
	})
}

// haveControlMessages: datagrams come with control messages.
const haveControlMessages = true
