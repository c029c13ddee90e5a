package udptest

import (
	"net/netip"
	"slices"
)

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// A route is how a host reaches an address.
type route struct {
	iface *Interface
	hop   netip.Addr // next hop on the segment; invalid: all
	src   netip.Addr // source address, unless the socket has one
	all   bool       // multicast or broadcast
}

// route returns the route to an address, which may have a zone. An index that is not 0 and the
// source address restrict the interface.
func (h *Host) route(to netip.Addr, index int, src netip.Addr) (route, errno) {
	if zone := to.Zone(); zone != "" {
		i := h.byZone(zone)
		if i == nil {
			return route{}, eNODEV
		}
		index, to = i.index, to.WithZone("")
	} else if to.Is6() && to.IsLinkLocalUnicast() && index == 0 {
		return route{}, eINVAL
	}
	if index != 0 && !slices.ContainsFunc(h.ifaces, func(i *Interface) bool { return i.index == index }) {
		return route{}, eNODEV
	}
	if src.IsValid() && src.IsUnspecified() {
		src = netip.Addr{}
	}
	switch {
	case to.IsMulticast(), to == broadcast4:
		i := h.multicastInterface(to, index, src)
		if i == nil {
			return route{}, eNETUNREACH
		}
		return h.from(i, to, netip.Addr{}, true), none
	case to.IsLoopback(), h.owns(to):
		r := route{iface: h.lo, hop: to, src: to}
		if to.Is4() && to.IsLoopback() {
			r.src = loopback(true)
		}
		return r, none
	case src.IsValid() && src.IsLoopback():
		return route{}, eINVAL // a loopback address does not leave the host
	}
	if i := h.onLinkBy(to, index); i != nil {
		if i.isBroadcast(to) {
			return h.from(i, to, netip.Addr{}, true), none
		}
		return h.from(i, to, to, false), none
	}
	for _, g := range h.gateways {
		if g.Is4() == to.Is4() {
			if i := h.onLinkBy(g, index); i != nil {
				return h.from(i, to, g, false), none
			}
		}
	}
	return route{}, eNETUNREACH
}

func (h *Host) from(i *Interface, to, hop netip.Addr, all bool) route {
	return route{iface: i, hop: hop, src: i.source(to), all: all}
}

// multicastInterface returns the outgoing interface of datagrams to a group: the one with the
// index, or the one of the source address, or the first that can send them.
func (h *Host) multicastInterface(to netip.Addr, index int, src netip.Addr) *Interface {
	if index == 0 && src.IsValid() {
		if i := h.iface(src); i != nil {
			index = i.index
		}
	}
	for _, i := range h.ifaces {
		switch {
		case index != 0 && i.index != index, i.down, i.seg == nil && (i != h.lo || index != i.index):
		case i.source(to).IsValid():
			return i
		}
	}
	return nil
}

// onLink returns the interface with the longest prefix that contains the address, or nil.
func (h *Host) onLink(to netip.Addr) *Interface { return h.onLinkBy(to, 0) }

func (h *Host) onLinkBy(to netip.Addr, index int) (best *Interface) {
	bits := -1
	for i := range h.addrs {
		switch p := &h.addrs[i]; {
		case p.iface == h.lo, p.Bits() <= bits, p.Addr().Is4() != to.Is4(), p.Bits() != 0 && !p.Contains(to):
		case p.iface.down, index != 0 && p.iface.index != index:
		default:
			best, bits = p.iface, p.Bits()
		}
	}
	return best
}

// source returns the source address for datagrams to an address: the first one of the family,
// or for a link-local destination the link-local one if there is one.
func (i *Interface) source(to netip.Addr) (src netip.Addr) {
	local := to.IsLinkLocalUnicast() || to.IsLinkLocalMulticast()
	for k := range i.host.addrs {
		p := &i.host.addrs[k]
		switch a := p.Addr(); {
		case p.iface != i, a.Is4() != to.Is4():
		case a.Is6() && local == a.IsLinkLocalUnicast():
			return a
		case !src.IsValid():
			src = a
		}
	}
	return src
}

// iface returns the interface that has an address, or nil.
func (h *Host) iface(a netip.Addr) *Interface {
	for i := range h.addrs {
		if h.addrs[i].Addr() == a {
			return h.addrs[i].iface
		}
	}
	return nil
}

// owns reports whether an address is of the host, as all of 127.0.0.0/8 are.
func (h *Host) owns(a netip.Addr) bool {
	if i := h.iface(a); i != nil {
		return true
	}
	return a.Is4() && a.IsLoopback()
}

func (h *Host) byZone(zone string) *Interface {
	for _, i := range h.ifaces {
		if i.name == zone {
			return i
		}
	}
	return nil
}

func (h *Host) isBroadcast(a netip.Addr) bool {
	return slices.ContainsFunc(h.ifaces[1:], func(i *Interface) bool { return i.isBroadcast(a) })
}

// isBroadcast reports whether a is a broadcast address of the segment: 255.255.255.255 or the
// last address of a prefix (RFC 919, RFC 922).
func (i *Interface) isBroadcast(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	if a == broadcast4 {
		return true
	}
	for k := range i.host.addrs {
		p := &i.host.addrs[k]
		if p.iface == i && p.Addr().Is4() && p.Bits() <= 30 && p.Bits() > 0 && a == last(p.Prefix) {
			return true
		}
	}
	return false
}
