package mcast

import (
	"net/netip"
	"slices"
	"sync"
)

// groupFilter selects the datagrams that match a membership. Kernels filter too: Linux
// exactly, others less so. But none removes datagrams that it queued before a group was left.
type groupFilter struct {
	groups sync.Map // netip.Addr: []accepted, which is not changed
}

// accepted is what one membership accepts on one interface.
type accepted struct {
	ifindex int
	source  netip.Addr   // valid: this one only
	blocked []netip.Addr // not these
}

// update replaces what is accepted for one group.
func (f *groupFilter) update(group netip.Addr, ds []*desired) {
	var as []accepted
	for _, d := range ds {
		blocked := slices.Clone(d.blocked)
		for _, a := range d.on {
			if a.err == nil {
				as = append(as, accepted{ifindex: a.index, source: d.source, blocked: blocked})
			}
		}
	}
	if as == nil {
		f.groups.Delete(group)
		return
	}
	f.groups.Store(group, as)
}

// accepts reports whether a datagram matches a membership. The addresses have no zone;
// ifindex is 0 if unknown.
func (f *groupFilter) accepts(group, source netip.Addr, ifindex int) bool {
	as, ok := f.groups.Load(group)
	if !ok {
		return false
	}
	for _, a := range as.([]accepted) {
		if (ifindex == 0 || a.ifindex == ifindex) && (!a.source.IsValid() || a.source == source) &&
			!slices.Contains(a.blocked, source) {
			return true
		}
	}
	return false
}

// Wants reports whether the socket wants a datagram, given its destination, source and
// interface (0 if unknown). A nil Manager is that of a socket without memberships.
func (m *Manager) Wants(to, source netip.Addr, ifindex int) bool {
	switch {
	case !to.IsMulticast():
		return m == nil || !m.cfg.Only.IsValid() || !to.IsValid()
	case m == nil:
		return false
	}
	return m.filter.accepts(to.WithZone(""), source.WithZone(""), ifindex)
}
