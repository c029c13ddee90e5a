package sys

import (
	"errors"
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
		if index := deviceOf(fd); int32(index) != c.peer.device {
			c.peer.device, c.peer.name = int32(index), interfaceName(fd, index)
		}
		return nil
	})
}

// interfaceName returns the name of an interface, or none if there is no such interface.
func interfaceName(fd, index int) string {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return ""
	}
	ifr.SetUint32(uint32(index))
	if index == 0 || unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifr) != nil {
		return ""
	}
	return ifr.Name()
}

// interfaceIndex is its opposite; 0 is none.
func interfaceIndex(fd int, name string) int {
	ifr, err := unix.NewIfreq(name)
	if err != nil || name == "" || unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) != nil {
		return 0
	}
	return int(ifr.Uint32())
}

// lostDevice says whether the socket is not bound any more to the interface that its
// owner, or the zone of its peer, has bound it to; also when that was removed and there is
// another one of its name, which the socket is to be bound to from now on.
func (c *Conn) lostDevice() (lost bool) {
	_ = onFD(c.rc, func(fd int) error {
		bound := deviceOf(fd)
		name := c.peer.name
		if c.peer.zoned {
			name = c.peer.want.Addr().Zone()
		}
		lost = bound == 0 && c.peer.device != 0 && !c.peer.zoned
		if interfaceName(fd, bound) != "" {
			return nil
		}
		if index := interfaceIndex(fd, name); index != 0 && index != bound {
			lost = true
			c.zones.forget()
			if c.peer.name == name {
				c.peer.device = int32(index)
			}
		}
		return nil
	})
	return lost
}

// bindAgain binds the socket to its interface, which has another index now. That needs
// CAP_NET_RAW while the socket is bound to one; without it the socket is bound to none for
// a moment.
func (c *Conn) bindAgain() error {
	err := onFD(c.rc, func(fd int) error { return setDevice(fd, int(c.peer.device)) })
	if errors.Is(err, unix.EPERM) {
		err = c.dissolve()
	}
	return err
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
