//go:build !udpbasic

package sys

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addrPort decodes a socket address of n bytes, a sockaddr_in or sockaddr_in6.
func (c *Conn) addrPort(sa *unix.RawSockaddrInet6, n int) netip.AddrPort {
	switch {
	case sa.Family == unix.AF_INET && n >= unix.SizeofSockaddrInet4:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), ntohs(sa4.Port))
	case sa.Family == unix.AF_INET6 && n >= unix.SizeofSockaddrInet6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.Scope_id != 0 && a.Is6() {
			a = a.WithZone(c.nameOf(sa.Scope_id))
		}
		return netip.AddrPortFrom(a, ntohs(sa.Port))
	}
	return netip.AddrPort{}
}

// putAddr encodes a socket address, for a socket of AF_INET6 if v6 and of AF_INET
// otherwise, and returns its length.
func (c *Conn) putAddr(sa *unix.RawSockaddrInet6, a netip.AddrPort, v6 bool) uint32 {
	if !v6 {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(sa)) = unix.RawSockaddrInet4{
			Family: unix.AF_INET, Port: ntohs(a.Port()), Addr: a.Addr().As4(),
		}
		return unix.SizeofSockaddrInet4
	}
	*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		sa.Scope_id = c.indexOf(zone)
	}
	return unix.SizeofSockaddrInet6
}

// ntohs converts a port between network and host byte order, in either direction.
func ntohs(p uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(make([]byte, 0, 2), p))
}
