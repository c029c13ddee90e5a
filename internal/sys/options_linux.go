package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// own has no dontFragment: see setMTUDiscovery.
var own = &numbers{class: pair{unix.IP_TOS, unix.IPV6_TCLASS}, ttl: pair{unix.IP_TTL, unix.IPV6_UNICAST_HOPS}}

func bindToDevice(rc syscall.RawConn, name string) error {
	if len(name) >= unix.IFNAMSIZ { // Linux would truncate it and bind to the device of that name
		return sysErr("setsockopt", unix.ENODEV)
	}
	return onFD(rc, func(fd int) error { return sysErr("setsockopt", unix.BindToDevice(fd, name)) })
}

func setMark(rc syscall.RawConn, mark uint32) error {
	return onFD(rc, func(fd int) error {
		return sysErr("setsockopt", setOption(fd, unix.SOL_SOCKET, unix.SO_MARK, int(int32(mark))))
	})
}

// setFreeBind sets IP_FREEBIND and, on sockets of IPv6, IPV6_FREEBIND. Linux before 4.15 lacks the
// latter, and IP_FREEBIND is enough for both families.
func setFreeBind(rc syscall.RawConn) error {
	return onFD(rc, func(fd int) error {
		if inet6(fd) {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
		}
		return sysErr("setsockopt", setOption(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1))
	})
}

// setTransparent also enables the control message with the original destination of a datagram,
// which differs from the socket's address if a firewall redirected it.
func setTransparent(rc syscall.RawConn) error {
	if err := setPair(rc, pair{unix.IP_TRANSPARENT, unix.IPV6_TRANSPARENT}, 1); err != nil {
		return err
	}
	return setPair(rc, pair{unix.IP_RECVORIGDSTADDR, unix.IPV6_RECVORIGDSTADDR}, 1)
}

// setMTUDiscovery sets IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, which have the same values (ip(7),
// ipv6(7); IP_PMTUDISC_OMIT needs Linux 3.15).
func setMTUDiscovery(rc syscall.RawConn, m socket.MTUDiscovery) error {
	value := [...]int{socket.MTUDo: unix.IP_PMTUDISC_DO, socket.MTUProbe: unix.IP_PMTUDISC_PROBE, socket.MTUOmit: unix.IP_PMTUDISC_OMIT}[m]
	return setPair(rc, pair{unix.IP_MTU_DISCOVER, unix.IPV6_MTU_DISCOVER}, value)
}
