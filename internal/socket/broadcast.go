package socket

import (
	"encoding/binary"
	"net/netip"
)

// BroadcastOf returns the broadcast address of the IPv4 network of an interface's address:
// all bits of the host set (RFC 919). Networks of one or two addresses have none (RFC 3021).
func BroadcastOf(p netip.Prefix) (a netip.Addr, ok bool) {
	if !p.Addr().Is4() || p.Bits() < 0 || p.Bits() > 30 {
		return a, false
	}
	b := p.Addr().As4()
	host := ^uint32(0) >> p.Bits()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|host)
	return netip.AddrFrom4(b), true
}
