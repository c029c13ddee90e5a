package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketName and peerName are getsockname(2) and getpeername(2). Package unix has them, but
// makes a second system call each time (SO_PROTOCOL), to distinguish L2TP from UDP.
func socketName(fd int) (unix.Sockaddr, error) { return nameOf(unix.SYS_GETSOCKNAME, fd) }

func peerName(fd int) (unix.Sockaddr, error) { return nameOf(unix.SYS_GETPEERNAME, fd) }

func nameOf(call uintptr, fd int) (unix.Sockaddr, error) {
	var sa unix.RawSockaddrInet6
	size := uint32(unsafe.Sizeof(sa))
	if _, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return nil, errno
	}
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
		return &unix.SockaddrInet4{Port: int(swapPort(sa4.Port)), Addr: sa4.Addr}, nil
	case unix.AF_INET6:
		return &unix.SockaddrInet6{Port: int(swapPort(sa.Port)), ZoneId: sa.Scope_id, Addr: sa.Addr}, nil
	}
	return nil, unix.EAFNOSUPPORT
}

// swapPort converts a port between network and host byte order.
func swapPort(p uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}

// inet6 reports whether the socket is of AF_INET6, even if it can reach IPv4 only.
func inet6(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_INET6
}
