package sys

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connectsOver: a failed connect(2) leaves the old peer.
const connectsOver = true

// SendsFromRemovedAddress: a connected IPv6 socket keeps sending from its source
// address after the host has lost that address.
const SendsFromRemovedAddress = true

// dissolve is connect(2) to AF_UNSPEC. Linux then also unbinds the socket from its
// interface (SO_BINDTODEVICE), so that is restored.
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

// interfaceIndex returns the index of an interface, or 0 if there is no such interface.
func interfaceIndex(fd int, name string) int {
	ifr, err := unix.NewIfreq(name)
	if err != nil || name == "" || unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) != nil {
		return 0
	}
	return int(ifr.Uint32())
}

// lostDevice reports whether the socket is no longer bound to the interface that its owner, or
// the zone of its peer, bound it to. It is also true if that interface was removed and another
// one has its name now; from then on the socket should be bound to the other one.
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

// bindAgain binds the socket to its interface, which has another index now. A socket that is
// bound to an interface needs CAP_NET_RAW for that. Without it, the socket is unbound first.
func (c *Conn) bindAgain() error {
	err := onFD(c.rc, func(fd int) error { return setDevice(fd, int(c.peer.device)) })
	if errors.Is(err, unix.EPERM) {
		err = c.dissolve()
	}
	return err
}

// removed reports whether the host has lost the address: no socket can be bound to it.
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

// sourceFor returns the source address, without a zone, that the system would choose for a
// datagram from a socket that is bound to all addresses. Without a route it is invalid.
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
