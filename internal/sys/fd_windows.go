package sys

import (
	"math"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/udpkit/udp/internal/socket"
)

type bufferOption int

const bufferFactor = 1

const (
	readBuffer  bufferOption = windows.SO_RCVBUF
	writeBuffer bufferOption = windows.SO_SNDBUF
)

const soExclusiveAddrUse = ^windows.SO_REUSEADDR // winsock2.h

func onFD(rc syscall.RawConn, f func(h windows.Handle) error) error {
	var err error
	if cerr := rc.Control(func(fd uintptr) { err = f(windows.Handle(fd)) }); cerr != nil {
		return unwrapOp(cerr)
	}
	return err
}

func setInt(rc syscall.RawConn, level, option, value int) error {
	return onFD(rc, func(h windows.Handle) error {
		return sysErr("setsockopt", windows.SetsockoptInt(h, level, option, value))
	})
}

func beforeBind(rc syscall.RawConn, _ string, o socket.Options) (filter bool, err error) {
	if o.ReuseAddr || o.ReusePort {
		return false, setInt(rc, windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)
	}
	// Otherwise any program that sets SO_REUSEADDR can take over the port.
	return false, setInt(rc, windows.SOL_SOCKET, soExclusiveAddrUse, 1)
}

func setBroadcast(rc syscall.RawConn, on bool) error {
	return setInt(rc, windows.SOL_SOCKET, windows.SO_BROADCAST, toInt(on))
}

func setBuffer(rc syscall.RawConn, o bufferOption, n int) {
	if n > 0 {
		_ = setInt(rc, windows.SOL_SOCKET, int(o), min(n, math.MaxInt32)) // the system takes an int of 32 bits
	}
}

func bufferSize(rc syscall.RawConn, o bufferOption) (n int) {
	_ = onFD(rc, func(h windows.Handle) (err error) {
		n, err = windows.GetsockoptInt(h, windows.SOL_SOCKET, int(o))
		return err
	})
	return n
}

func (c *Conn) familyOf() (f socket.Family, local netip.AddrPort, err error) {
	err = onFD(c.rc, func(h windows.Handle) error {
		sa, err := windows.Getsockname(h)
		switch sa := sa.(type) {
		case *windows.SockaddrInet4:
			f = socket.IPv4
		case *windows.SockaddrInet6:
			f = socket.IPv6
			only, err := windows.GetsockoptInt(h, windows.IPPROTO_IPV6, windows.IPV6_V6ONLY)
			if err == nil && only == 0 && netip.AddrFrom16(sa.Addr).IsUnspecified() {
				f = socket.Dual
			}
		}
		local = fromSockaddr(sa)
		return sysErr("getsockname", err)
	})
	return f, local, err
}

func inet6(h windows.Handle) bool {
	sa, err := windows.Getsockname(h)
	_, ok := sa.(*windows.SockaddrInet6)
	return err == nil && ok
}

func getsockname(rc syscall.RawConn) (a netip.AddrPort, err error) {
	err = onFD(rc, func(h windows.Handle) error {
		sa, err := windows.Getsockname(h)
		a = fromSockaddr(sa)
		return sysErr("getsockname", err)
	})
	return a, err
}

func getpeername(rc syscall.RawConn) (a netip.AddrPort, err error) {
	err = onFD(rc, func(h windows.Handle) error {
		sa, err := windows.Getpeername(h)
		if err != nil {
			return sysErr("getpeername", err)
		}
		if a = fromSockaddr(sa); a.Port() == 0 {
			a = netip.AddrPort{}
		}
		return nil
	})
	return a, err
}

// connect also enables SIO_UDP_CONNRESET, which package net disables on every UDP
// socket. With it, the next read of a connected socket returns WSAECONNRESET if
// nobody listens at the peer.
func connect(rc syscall.RawConn, peer netip.AddrPort, v6 bool) error {
	return onFD(rc, func(h windows.Handle) error {
		if err := windows.Connect(h, toSockaddr(peer, v6)); err != nil {
			return sysErr("connect", err)
		}
		return reportResets(h, true)
	})
}

// dissolve is a connect to the zero address (WinSock2 connect, Remarks). What getsockname
// returns after it is undocumented; before, it is the source chosen for the peer.
func (c *Conn) dissolve() error {
	return onFD(c.rc, func(h windows.Handle) error {
		var sa windows.Sockaddr = &windows.SockaddrInet4{}
		if inet6(h) {
			sa = &windows.SockaddrInet6{}
		}
		if err := windows.Connect(h, sa); err != nil {
			return sysErr("connect", err)
		}
		c.dissolved.Store(true)
		return reportResets(h, false)
	})
}

func reportResets(h windows.Handle, on bool) error {
	const sioUDPConnReset = windows.IOC_IN | windows.IOC_VENDOR | 12
	flag, returned := uint32(toInt(on)), uint32(0)
	err := windows.WSAIoctl(h, sioUDPConnReset, (*byte)(unsafe.Pointer(&flag)),
		uint32(unsafe.Sizeof(flag)), nil, 0, &returned, nil, 0)
	return sysErr("wsaioctl", err)
}

func bind(rc syscall.RawConn, local netip.AddrPort, v6 bool) error {
	return onFD(rc, func(h windows.Handle) error {
		return sysErr("bind", windows.Bind(h, toSockaddr(local, v6)))
	})
}

func drops(syscall.RawConn) (uint32, bool) { return 0, false }

func fromSockaddr(sa windows.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *windows.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *windows.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			a = a.WithZone(zoneName(0, sa.ZoneId))
		}
		return netip.AddrPortFrom(a, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func toSockaddr(a netip.AddrPort, v6 bool) windows.Sockaddr {
	if !v6 {
		return &windows.SockaddrInet4{Addr: a.Addr().Unmap().As4(), Port: int(a.Port())}
	}
	if a.Addr() == netip.IPv4Unspecified() {
		return &windows.SockaddrInet6{Port: int(a.Port())}
	}
	return &windows.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port()), ZoneId: zoneIndex(0, a.Addr().Zone())}
}

// trafficClass is unused: no control message sets the DSCP here.
func trafficClass(syscall.RawConn, bool) uint8 { return 0 }

// takesClass: Windows rejects a send with a control message that it does not know.
func (c *Conn) takesClass() bool { return c.info.ECN }

// nonblocking does nothing here.
func nonblocking(syscall.RawConn) (wasBlocking bool, err error) { return false, nil }

func broadcastOption(rc syscall.RawConn) (n int, err error) {
	err = onFD(rc, func(h windows.Handle) error {
		n, err = windows.GetsockoptInt(h, windows.SOL_SOCKET, windows.SO_BROADCAST)
		return sysErr("getsockopt", err)
	})
	return n, err
}

// handBackMode does nothing here.
func (c *Conn) handBackMode() {}
