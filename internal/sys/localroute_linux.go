package sys

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// localByRoute reports whether a is an address of this host by a route of type local only. Linux
// delivers datagrams to such addresses. But a control message cannot send IPv6 from them
// without IPV6_FREEBIND, because ip6_datagram_send_ctl in net/ipv6/datagram.c checks the
// addresses of the interfaces.
func (c *Conn) localByRoute(a netip.Addr) (local bool) {
	probe, err := dgram(a.Is6())
	if err != nil {
		return false
	}
	same, err := c.sharesNamespace(probe)
	unix.Close(probe)
	if same || err != nil {
		return routeIsLocal(a)
	}
	_ = c.elsewhere(func() error {
		local = routeIsLocal(a)
		return nil
	})
	return local
}

// routeIsLocal looks up the route to a in the namespace of this thread (rtnetlink(7)).
func routeIsLocal(a netip.Addr) bool {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	to := a.AsSlice()
	ask := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg+unix.SizeofRtAttr, 64)
	ne.PutUint16(ask[4:], unix.RTM_GETROUTE)
	ne.PutUint16(ask[6:], unix.NLM_F_REQUEST)
	route := ask[unix.SizeofNlMsghdr:] // struct rtmsg
	route[0], route[1] = unix.AF_INET, byte(8*len(to))
	if a.Is6() {
		route[0] = unix.AF_INET6
	}
	destination := route[unix.SizeofRtMsg:] // struct rtattr
	ne.PutUint16(destination, uint16(unix.SizeofRtAttr+len(to)))
	ne.PutUint16(destination[2:], unix.RTA_DST)
	ask = append(ask, to...)
	ne.PutUint32(ask, uint32(len(ask)))
	if unix.Sendto(fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return false
	}
	b := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, b, 0) // the kernel has replied within sendto
	if err != nil {
		return false
	}
	m, _, ok := cutMessage(b[:n])
	return ok && m.kind == unix.RTM_NEWROUTE && len(m.data) >= unix.SizeofRtMsg && m.data[7] == unix.RTN_LOCAL
}
