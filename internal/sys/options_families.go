//go:build unix || windows

package sys

import "syscall"

func setTrafficClass(rc syscall.RawConn, class uint8) error {
	return setPair(rc, own.class, int(class))
}

func setTTL(rc syscall.RawConn, ttl uint8) error { return setPair(rc, own.ttl, int(ttl)) }

// setPair sets an option for the families that the socket can send to.
func setPair(rc syscall.RawConn, p pair, value int) error {
	return onFD(rc, func(fd descriptor) error {
		return p.set(inet6(fd), func(level, option int) error {
			return sysErr("setsockopt", setOption(fd, level, option, value))
		})
	})
}

// dontFragment sets the "don't fragment" flag. Linux uses setMTUDiscovery instead.
func dontFragment(rc syscall.RawConn) error { return setPair(rc, own.dontFragment, 1) }
