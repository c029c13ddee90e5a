package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// connectsOver: a connect(2) that fails leaves the peer that a socket has.
const connectsOver = true

// dissolve is connect(2) to AF_UNSPEC. With the peer Linux also forgets the
// interface that the socket was bound to (SO_BINDTODEVICE).
func (c *Conn) dissolve() error {
	return onFD(c.rc, func(fd int) error {
		if err := dissolve(fd); err != nil {
			return err
		}
		if c.peer.device == 0 {
			return nil
		}
		return sysErr("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, int(c.peer.device)))
	})
}

func dissolve(fd int) error {
	sa := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	if errno != 0 {
		return sysErr("connect", errno)
	}
	return nil
}

// noteDevice remembers the interface that the socket is bound to.
func (c *Conn) noteDevice() {
	_ = onFD(c.rc, func(fd int) error { // Linux 5.0
		index, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
		c.peer.device = int32(index)
		return nil
	})
}
