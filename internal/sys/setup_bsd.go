//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package sys

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

const bufferFactor = 1

// growBuffer halves the size until the system accepts it: the BSDs reject more than
// kern.ipc.maxsockbuf instead of reducing it.
func growBuffer(rc syscall.RawConn, o bufferOption, n int) {
	for ; n >= 4096; n /= 2 {
		if setInt(rc, unix.SOL_SOCKET, int(o), n) == nil {
			return
		}
	}
}

func beforeBind(rc syscall.RawConn, _ string, o socket.Options) (filter bool, err error) {
	if o.ReuseAddr {
		if err := setInt(rc, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return false, err
		}
	}
	// Several multicast receivers on one port need SO_REUSEPORT here.
	if o.ReusePort || o.ReuseAddr {
		return false, setInt(rc, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	return false, nil
}

func (c *Conn) setup(o socket.Options) error {
	return onFD(c.rc, func(fd int) error {
		if !c.needsInfo() {
			return nil
		}
		w := cmsg.WantedOptions(inet6(fd))
		c.info.PacketInfo = unix.SetsockoptInt(fd, w.Level, w.Destination, 1) == nil
		for _, o := range w.Others {
			_ = unix.SetsockoptInt(fd, w.Level, o, 1)
		}
		return nil
	})
}

// dissolve is connect(2) to the zero address. Some of the BSDs return an error although they
// have disconnected.
func (c *Conn) dissolve() error {
	return onFD(c.rc, func(fd int) error {
		var sa unix.Sockaddr = &unix.SockaddrInet4{}
		if inet6(fd) {
			sa = &unix.SockaddrInet6{}
		}
		err := unix.Connect(fd, sa)
		if _, still := unix.Getpeername(fd); errors.Is(still, unix.ENOTCONN) {
			return nil
		}
		return sysErr("connect", err)
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

var _ = [...]struct{}{
	[1]struct{}{}[unix.IPPROTO_IP-levelIP],
	[1]struct{}{}[unix.IPPROTO_IPV6-levelIPv6],
	[1]struct{}{}[unix.IP_TOS-bsdTOS],
	[1]struct{}{}[unix.IP_TTL-bsdTTL],
	[1]struct{}{}[unix.IPV6_UNICAST_HOPS-bsdUnicastHops],
}
