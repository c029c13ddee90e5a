package mcast

import (
	"net"
	"net/netip"
	"slices"
)

// Fit returns network "udp" with the family of the groups. only is the group in the address,
// if any.
func Fit(network, address string, groups []netip.Addr) (fit string, only netip.Addr, all []netip.Addr) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return network, only, groups // resolving the address reports it
	}
	if a, err := netip.ParseAddr(host); err == nil && a.IsMulticast() {
		groups = append([]netip.Addr{a}, groups...)
		only, host = a.Unmap().WithZone(""), ""
	}
	if network != "udp" || host != "" || len(groups) == 0 {
		return network, only, groups
	}
	is4 := func(a netip.Addr) bool { return a.Unmap().Is4() }
	is6 := func(a netip.Addr) bool { return !is4(a) }
	switch {
	case !slices.ContainsFunc(groups, is6):
		network = "udp4"
	case !slices.ContainsFunc(groups, is4):
		network = "udp6"
	}
	return network, only, groups
}
