//go:build unix && !linux

package sys

import "golang.org/x/sys/unix"

func socketName(fd int) (unix.Sockaddr, error) { return unix.Getsockname(fd) }

func peerName(fd int) (unix.Sockaddr, error) { return unix.Getpeername(fd) }

// inet6 says whether the socket is one of AF_INET6, whatever it can reach.
func inet6(fd int) bool {
	sa, err := socketName(fd)
	_, ok := sa.(*unix.SockaddrInet6)
	return err == nil && ok
}
