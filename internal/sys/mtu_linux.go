package sys

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// MTU implements socket.Socket. Only a connected socket has an MTU (ip(7), IP_MTU). For an
// unconnected one, another socket of the same network namespace is connected.
func (c *Conn) MTU(to netip.AddrPort) (mtu int) {
	if !to.IsValid() {
		_ = onFD(c.rc, func(fd int) error {
			peer, err := peerName(fd)
			if err == nil {
				mtu = pathMTU(fd, fromSockaddr(fd, peer).Addr().Unmap().Is6())
			}
			return err
		})
		return mtu
	}
	v6 := to.Addr().Is6()
	fd, err := c.openInNamespace(v6)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	_ = c.rc.Control(func(own uintptr) { sameRoute(int(own), fd) })
	if unix.Connect(fd, toSockaddr(fd, to, v6)) != nil {
		return 0
	}
	return pathMTU(fd, v6)
}

// sameRoute copies to another socket the options that influence the choice of a route: the
// mark and the interface that the socket is bound to.
func sameRoute(of, to int) {
	if mark, err := unix.GetsockoptInt(of, unix.SOL_SOCKET, unix.SO_MARK); err == nil && mark != 0 {
		_ = unix.SetsockoptInt(to, unix.SOL_SOCKET, unix.SO_MARK, mark)
	}
	_ = setDevice(to, deviceOf(of))
}

func pathMTU(fd int, v6 bool) int {
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	mtu, err := unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return 0
	}
	return mtu
}
