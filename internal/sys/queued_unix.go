//go:build unix && !aix && (udpbasic || !linux)

package sys

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// queued says whether a datagram, or an error, waits to be read.
func queued(rc syscall.RawConn) (waits, known bool) {
	err := onFD(rc, func(fd int) error {
		err := peek(fd)
		for report(err) {
			err = peek(fd)
		}
		return err
	})
	return !errors.Is(err, unix.EAGAIN), true
}

// report says whether err is an ICMP message's, and so gone with the call that
// returned it.
func report(err error) bool {
	switch Classify(err) {
	case Report, Unreachable, TooLarge:
		return true
	}
	return false
}

func peek(fd int) error {
	var none [1]byte
	for {
		if _, _, err := unix.Recvfrom(fd, none[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); err != unix.EINTR {
			return err
		}
	}
}
