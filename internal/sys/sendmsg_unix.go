//go:build unix && !aix && (udpbasic || !linux)

package sys

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// sendmsg is write for what net has no call for: control messages on a connected
// socket, and a send that returns EAGAIN instead of waiting for room. That one uses
// RawConn.Control, because RawConn.Write queues behind a sender that waits.
func (c *Conn) sendmsg(data, oob []byte, to netip.AddrPort, wait bool) (err error) {
	send := func(fd uintptr) bool {
		var sa unix.Sockaddr
		if to.IsValid() {
			sa = toSockaddr(int(fd), to, inet6(int(fd)))
		}
		_, err = unix.SendmsgN(int(fd), data, oob, sa, unix.MSG_DONTWAIT)
		for err == unix.EINTR {
			_, err = unix.SendmsgN(int(fd), data, oob, sa, unix.MSG_DONTWAIT)
		}
		return err != unix.EAGAIN
	}
	var cerr error
	if wait {
		cerr = c.rc.Write(send)
	} else {
		cerr = c.rc.Control(func(fd uintptr) { send(fd) })
	}
	if cerr != nil {
		return cerr
	}
	return sysErr("sendmsg", err)
}
