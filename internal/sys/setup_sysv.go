//go:build aix || solaris

package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

const bufferFactor = 1

var own = &numbers{class: pair{unix.IP_TOS, unix.IPV6_TCLASS}, ttl: pair{unix.IP_TTL, unix.IPV6_UNICAST_HOPS}}

func growBuffer(rc syscall.RawConn, o bufferOption, n int) {
	for ; n >= 4096; n /= 2 {
		if setInt(rc, unix.SOL_SOCKET, int(o), n) == nil {
			return
		}
	}
}

func beforeBind(rc syscall.RawConn, _ string, o socket.Options) (filter bool, err error) {
	if o.ReuseAddr || o.ReusePort {
		return false, setInt(rc, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	return false, nil
}

func (c *Conn) setup(socket.Options) error { return nil }

func (c *Conn) dissolve() error {
	return onFD(c.rc, func(fd int) error {
		var sa unix.Sockaddr = &unix.SockaddrInet4{}
		if inet6(fd) {
			sa = &unix.SockaddrInet6{}
		}
		return sysErr("connect", unix.Connect(fd, sa))
	})
}

func drops(syscall.RawConn) (uint32, bool) { return 0, false }

// stopIntake cannot stop datagrams from arriving. It returns the size of the receive buffer in
// bytes.
func (c *Conn) stopIntake(fd int, _ bool) int {
	size, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return size
}

func broadcastOption(rc syscall.RawConn) (int, error) {
	return getInt(rc, unix.SOL_SOCKET, unix.SO_BROADCAST)
}
