//go:build unix && !aix && (udpbasic || !linux)

package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// queued reports whether a datagram is queued. Unlike a read with MSG_PEEK it does not take the
// error of an ICMP message.
func queued(rc syscall.RawConn) (waits, known bool) {
	err := onFD(rc, func(fd int) error {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(fds, 0)
			if err == unix.EINTR {
				continue
			}
			waits = n > 0
			return err
		}
	})
	return waits, err == nil
}
