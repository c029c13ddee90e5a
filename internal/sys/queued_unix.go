//go:build unix && !aix && (udpbasic || !linux)

package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// queued says whether a datagram waits to be read. It does not take the error of
// an ICMP message away, as looking with MSG_PEEK would.
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
