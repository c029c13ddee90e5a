//go:build unix && !aix && (udpbasic || !linux)

package sys

import "golang.org/x/sys/unix"

// awaitDatagram waits until there is something to read. An idle socket holds no
// buffer meanwhile: a read of package net needs one of 64 KiB.
func (c *Conn) awaitDatagram(ready func(fd uintptr) bool) error { return c.rc.Read(ready) }

// readable returns a function that reports whether there is something to read, and
// calls release if there is not.
func readable(release func()) func(fd uintptr) bool {
	fds := make([]unix.PollFd, 1)
	return func(fd uintptr) bool {
		for {
			fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
			n, err := unix.Poll(fds, 0)
			switch {
			case err == unix.EINTR:
			case n == 0 && err == nil:
				release()
				return false
			default:
				return true
			}
		}
	}
}
