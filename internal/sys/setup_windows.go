package sys

import (
	"golang.org/x/sys/windows"

	"github.com/udpkit/udp/internal/socket"
)

// Options that x/sys/windows has no names for (ws2ipdef.h); the numbers are the same in
// both families.
const (
	optPktinfo  = 19
	optHopLimit = 21
	optClass    = 40 // IP_RECVTOS, IPV6_RECVTCLASS
	optECN      = 50 // IP_RECVECN, IPV6_RECVECN
)

// setup asks for what WSARecvMsg may tell about datagrams. The destination is asked for
// even if the socket is bound to one address: here it gets broadcasts and groups as well.
func (c *Conn) setup(o socket.Options) error {
	return onFD(c.rc, func(h windows.Handle) error {
		on := func(option int) bool {
			all := true
			if c.info.Family != socket.IPv6 {
				all = windows.SetsockoptInt(h, windows.IPPROTO_IP, option, 1) == nil
			}
			if c.info.Family != socket.IPv4 {
				all = windows.SetsockoptInt(h, windows.IPPROTO_IPV6, option, 1) == nil && all
			}
			return all
		}
		c.info.PacketInfo = on(optPktinfo)
		on(optHopLimit)
		on(optClass)
		c.info.ECN = on(optECN) // Windows 10 version 2004, Server 2022
		if !o.NoOffload {
			c.askSegments(h)
		}
		return nil
	})
}
