package sys

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connectsOver: a connect(2) that fails leaves the peer that a socket has.
const connectsOver = true

// SendsFromRemovedAddress: an IPv6 socket with a peer sends on from its source
// address when the host does not have that any more.
const SendsFromRemovedAddress = true

// dissolve is connect(2) to AF_UNSPEC. With the peer Linux also forgets the
// interface that the socket was bound to (SO_BINDTODEVICE).
func (c *Conn) dissolve() error {
	return onFD(c.rc, func(fd int) error {
		if err := dissolve(fd); err != nil {
			return err
		}
		return setDevice(fd, int(c.peer.device))
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
	_ = onFD(c.rc, func(fd int) error {
		c.peer.device = int32(deviceOf(fd))
		return nil
	})
}

// lostDevice says whether the socket is not bound any more to the interface that
// its owner has bound it to.
func (c *Conn) lostDevice() (lost bool) {
	if c.peer.device == 0 {
		return false
	}
	_ = onFD(c.rc, func(fd int) error { lost = deviceOf(fd) == 0; return nil })
	return lost
}

// removed says whether no socket could be bound to the address any more.
func (c *Conn) removed(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
		return false
	}
	fd, err := c.openInNamespace(a.Is6())
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, toSockaddr(fd, netip.AddrPortFrom(a, 0), a.Is6())) == unix.EADDRNOTAVAIL
}

// sourceFor returns the source address, without a zone, that the system would
// choose for a datagram of a socket that is bound to every address; an invalid one
// when there is no way.
func (c *Conn) sourceFor(to netip.AddrPort, ifindex int) (a netip.Addr) {
	v6 := to.Addr().Is6()
	fd, err := c.openInNamespace(v6)
	if err != nil {
		return a
	}
	defer unix.Close(fd)
	if ifindex == 0 {
		_ = onFD(c.rc, func(own int) error { ifindex = deviceOf(own); return nil })
	}
	if setDevice(fd, ifindex) != nil {
		return a
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	if unix.Connect(fd, toSockaddr(fd, to, v6)) != nil {
		return a
	}
	local, err := socketName(fd)
	if err != nil {
		return a
	}
	return fromSockaddr(fd, local).Addr().WithZone("")
}
