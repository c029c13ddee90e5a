//go:build unix && !aix && (udpbasic || !linux)

package sys

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// writeNow is write that returns EAGAIN instead of waiting for room. It uses
// RawConn.Control, because RawConn.Write queues behind a sender that waits.
func (c *Conn) writeNow(data, oob []byte, to netip.AddrPort) error {
	return onFD(c.rc, func(fd int) error {
		var sa unix.Sockaddr
		if to.IsValid() {
			sa = toSockaddr(fd, to, inet6(fd))
		}
		for {
			_, err := unix.SendmsgN(fd, data, oob, sa, unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return sysErr("sendmsg", err)
			}
		}
	})
}
