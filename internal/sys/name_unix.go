//go:build unix && !linux

package sys

import "golang.org/x/sys/unix"

func socketName(fd int) (unix.Sockaddr, error) { return unix.Getsockname(fd) }

func peerName(fd int) (unix.Sockaddr, error) { return unix.Getpeername(fd) }

// inet6 reports whether the socket is of AF_INET6, even if it can reach IPv4 only.
func inet6(fd int) bool {
	sa, err := socketName(fd)
	_, ok := sa.(*unix.SockaddrInet6)
	return err == nil && ok
}
