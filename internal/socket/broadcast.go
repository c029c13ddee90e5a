package socket

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
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

// Broadcasters returns those of all interfaces that are named, or if none is, those that
// broadcast over IPv4 and that are admitted. One that is missing has no index.
func Broadcasters(all []Interface, named []*net.Interface, admits func(net.Interface) bool) ([]Interface, error) {
	if len(named) == 0 {
		return slices.DeleteFunc(all, func(i Interface) bool { return !i.broadcasts() || !admits(i.Interface) }), nil
	}
	chosen := make([]Interface, len(named))
	for n, ifi := range named {
		if ifi == nil {
			return nil, &net.AddrError{Err: "nil interface"}
		}
		at := slices.IndexFunc(all, func(i Interface) bool { return i.Name == ifi.Name })
		if at < 0 { // renamed, perhaps
			at = slices.IndexFunc(all, func(i Interface) bool { return i.Index == ifi.Index })
		}
		if chosen[n] = (Interface{Interface: net.Interface{Name: ifi.Name}}); at >= 0 {
			chosen[n] = all[at]
		}
	}
	return chosen, nil
}

// broadcasts reports whether an interface is for a broadcast that names none.
func (i *Interface) broadcasts() bool {
	return i.Flags&net.FlagUp != 0 && i.Flags&net.FlagBroadcast != 0 &&
		slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() })
}
