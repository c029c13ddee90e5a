package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// own: the MTU has other options here.
var own = &numbers{class: pair{unix.IP_TOS, unix.IPV6_TCLASS}, ttl: pair{unix.IP_TTL, unix.IPV6_UNICAST_HOPS}}

func bindToDevice(rc syscall.RawConn, name string) error {
	if len(name) >= unix.IFNAMSIZ { // Linux cuts it short and takes the device of that name
		return sysErr("setsockopt", unix.ENODEV)
	}
	return onFD(rc, func(fd int) error { return sysErr("setsockopt", unix.BindToDevice(fd, name)) })
}

func setMark(rc syscall.RawConn, mark uint32) error {
	return onFD(rc, func(fd int) error {
		return sysErr("setsockopt", setOption(fd, unix.SOL_SOCKET, unix.SO_MARK, int(int32(mark))))
	})
}

// setFreeBind: IPV6_FREEBIND is of Linux 4.15, and IP_FREEBIND does both before.
func setFreeBind(rc syscall.RawConn) error {
	return onFD(rc, func(fd int) error {
		if inet6(fd) {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
		}
		return sysErr("setsockopt", setOption(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1))
	})
}

// setTransparent also asks for the address and port in the header of a datagram,
// which is not the socket's when a firewall has redirected it.
func setTransparent(rc syscall.RawConn) error {
	if err := setPair(rc, pair{unix.IP_TRANSPARENT, unix.IPV6_TRANSPARENT}, 1); err != nil {
		return err
	}
	return setPair(rc, pair{unix.IP_RECVORIGDSTADDR, unix.IPV6_RECVORIGDSTADDR}, 1)
}

// setMTUDiscovery: the values for both families are the same (ip(7), ipv6(7);
// IP_PMTUDISC_OMIT is of Linux 3.15).
func setMTUDiscovery(rc syscall.RawConn, m socket.MTUDiscovery) error {
	value := [...]int{socket.MTUDo: unix.IP_PMTUDISC_DO, socket.MTUProbe: unix.IP_PMTUDISC_PROBE, socket.MTUOmit: unix.IP_PMTUDISC_OMIT}[m]
	return setPair(rc, pair{unix.IP_MTU_DISCOVER, unix.IPV6_MTU_DISCOVER}, value)
}
