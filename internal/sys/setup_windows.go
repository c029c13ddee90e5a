package sys

import (
	"golang.org/x/sys/windows"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// setup enables what WSARecvMsg reports about datagrams. The destination is needed even if the
// socket is bound to one address, because here it still receives broadcasts and groups.
func (c *Conn) setup(o socket.Options) error {
	return onFD(c.rc, func(h windows.Handle) error {
		c.info.PacketInfo, c.info.ECN = true, true
		for _, v6 := range []bool{false, true} {
			if c.info.Family == socket.IPv4 && v6 || c.info.Family == socket.IPv6 && !v6 {
				continue
			}
			w := cmsg.WantedOptions(v6)
			on := func(option int) bool { return windows.SetsockoptInt(h, w.Level, option, 1) == nil }
			c.info.PacketInfo = on(w.Destination) && c.info.PacketInfo
			c.info.ECN = on(w.ECN) && c.info.ECN
			for _, option := range w.Others {
				on(option)
			}
		}
		if !o.NoOffload {
			c.askSegments(h)
		}
		return nil
	})
}
