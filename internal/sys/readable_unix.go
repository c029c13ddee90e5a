//go:build unix && !aix && (udpbasic || !linux)

package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// waiter waits until there is something to read. So an idle socket has no buffer: a read of
// package net that waits would need one of 64 KiB.
type waiter struct {
	release func() // called if there is nothing to read
	ready   func(fd uintptr) bool
	fds     [1]unix.PollFd
}

func newWaiter(release func()) *waiter {
	w := &waiter{release: release}
	w.ready = w.readable
	return w
}

func (w *waiter) wait(rc syscall.RawConn) error { return rc.Read(w.ready) }

func (w *waiter) readable(fd uintptr) bool {
	for {
		w.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		n, err := unix.Poll(w.fds[:], 0)
		switch {
		case err == unix.EINTR:
		case n == 0 && err == nil:
			w.release()
			return false
		default:
			return true
		}
	}
}
