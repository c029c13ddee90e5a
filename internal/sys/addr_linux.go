//go:build !udpbasic

package sys

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zoneTTL is how long an interface's name is believed, as in package net.
const zoneTTL = time.Minute

// zoneCache makes netip values of socket addresses, and remembers the names of
// the interfaces that link-local peers were lately on. It belongs to one
// goroutine.
type zoneCache struct {
	zones [4]zone
	next  int // the oldest
}

// zone is an interface, while it is believed to have that name.
type zone struct {
	index uint32
	name  string
	until time.Time
}

// addrPort reads a socket address of n bytes: sockaddr_in or sockaddr_in6.
func (z *zoneCache) addrPort(sa *unix.RawSockaddrInet6, n int) netip.AddrPort {
	switch {
	case sa.Family == unix.AF_INET && n >= unix.SizeofSockaddrInet4:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), ntohs(sa4.Port))
	case sa.Family == unix.AF_INET6 && n >= unix.SizeofSockaddrInet6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.Scope_id != 0 && a.Is6() {
			a = a.WithZone(z.nameOf(sa.Scope_id))
		}
		return netip.AddrPortFrom(a, ntohs(sa.Port))
	}
	return netip.AddrPort{}
}

func (z *zoneCache) nameOf(index uint32) string {
	now := time.Now()
	for i := range z.zones {
		if known := &z.zones[i]; known.index == index && now.Before(known.until) {
			return known.name
		}
	}
	name := zoneName(index)
	z.remember(zone{index, name, now.Add(zoneTTL)})
	return name
}

func (z *zoneCache) indexOf(name string) uint32 {
	now := time.Now()
	for i := range z.zones {
		if known := &z.zones[i]; known.name == name && now.Before(known.until) {
			return known.index
		}
	}
	index := zoneIndex(name)
	if index != 0 { // one that is missing may come any time
		z.remember(zone{index, name, now.Add(zoneTTL)})
	}
	return index
}

// remember forgets the oldest for it.
func (z *zoneCache) remember(known zone) {
	z.zones[z.next] = known
	z.next = (z.next + 1) % len(z.zones)
}

// put writes a socket address for a socket of AF_INET6 or AF_INET and returns
// its length.
func (z *zoneCache) put(sa *unix.RawSockaddrInet6, a netip.AddrPort, v6 bool) uint32 {
	if !v6 {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(sa)) = unix.RawSockaddrInet4{
			Family: unix.AF_INET, Port: ntohs(a.Port()), Addr: a.Addr().As4(),
		}
		return unix.SizeofSockaddrInet4
	}
	*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		sa.Scope_id = z.indexOf(zone)
	}
	return unix.SizeofSockaddrInet6
}

// ntohs turns a port between network and host order; it is its own inverse.
func ntohs(p uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(make([]byte, 0, 2), p))
}
