package udptest

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// A membership is of one socket on one interface. With sources it is source-specific; without,
// it admits all sources except for those that are blocked.
type membership struct {
	group            netip.Addr
	index            int
	sources, blocked []netip.Addr
}

// Limits of a socket: net.ipv4.igmp_max_memberships, which IPv6 does not have, and for the
// sources of one group net.ipv4.igmp_max_msf and net.ipv6.mld_max_msf.
const (
	maxMemberships = 20
	maxSources4    = 10
	maxSources6    = 64
)

// Join implements socket.Socket.
func (s *sock) Join(group, source netip.Addr, ifindex int) error {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	index, at, err := s.membership(group, ifindex)
	if err != nil {
		return err
	}
	if at < 0 {
		if group.Is4() && s.groups4() >= maxMemberships {
			return sysErr("setsockopt", eNOBUFS)
		}
		m := membership{group: group, index: index}
		if source.IsValid() {
			m.sources = []netip.Addr{source}
		}
		s.groups = append(s.groups, m)
		return nil
	}
	m := &s.groups[at]
	switch {
	case !source.IsValid():
		return sysErr("setsockopt", eADDRINUSE)
	case len(m.sources) == 0:
		return sysErr("setsockopt", eINVAL) // all sources are admitted already
	case len(m.sources) >= maxSources(group):
		return sysErr("setsockopt", eNOBUFS)
	case slices.Contains(m.sources, source):
		return sysErr("setsockopt", eADDRNOTAVAIL)
	}
	m.sources = append(m.sources, source)
	return nil
}

// membership returns the index of the interface for a membership, and its place in groups, -1 if
// there is none. The caller holds the network's lock.
func (s *sock) membership(group netip.Addr, ifindex int) (index, at int, err error) {
	if s.isClosed() {
		return 0, 0, net.ErrClosed
	}
	i, e := s.memberInterface(group, ifindex)
	if e != none {
		return 0, 0, sysErr("setsockopt", e)
	}
	return i.index, s.find(group, i.index), nil
}

func maxSources(group netip.Addr) int {
	if group.Is4() {
		return maxSources4
	}
	return maxSources6
}

// groups4 returns the number of memberships in IPv4 groups.
func (s *sock) groups4() (count int) {
	for _, m := range s.groups {
		if m.group.Is4() {
			count++
		}
	}
	return count
}

// Leave implements socket.Socket.
func (s *sock) Leave(group, source netip.Addr, ifindex int) error {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	_, at, err := s.membership(group, ifindex)
	if err != nil {
		return err
	}
	if at < 0 {
		return sysErr("setsockopt", eADDRNOTAVAIL)
	}
	m := &s.groups[at]
	if source.IsValid() {
		if !slices.Contains(m.sources, source) {
			return sysErr("setsockopt", eADDRNOTAVAIL)
		}
		m.sources = slices.DeleteFunc(m.sources, func(a netip.Addr) bool { return a == source })
		if len(m.sources) > 0 {
			return nil
		}
	}
	s.groups = slices.Delete(s.groups, at, at+1)
	return nil
}

// Block blocks a source of a membership that admits all, or unblocks it.
func (s *sock) Block(group, source netip.Addr, ifindex int, on bool) error {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.isClosed() {
		return net.ErrClosed
	}
	at := s.find(group, ifindex)
	if at < 0 || len(s.groups[at].sources) > 0 {
		return sysErr("setsockopt", eINVAL)
	}
	m := &s.groups[at]
	switch blocked := slices.Index(m.blocked, source); {
	case on && len(m.blocked) >= maxSources(group):
		return sysErr("setsockopt", eNOBUFS)
	case on != (blocked < 0):
		return sysErr("setsockopt", eADDRNOTAVAIL)
	case on:
		m.blocked = append(m.blocked, source)
	default:
		m.blocked = slices.Delete(m.blocked, blocked, blocked+1)
	}
	return nil
}

func (s *sock) memberInterface(group netip.Addr, index int) (*Interface, errno) {
	if !group.IsMulticast() {
		return nil, eINVAL
	}
	if index == 0 {
		if i := s.host.multicastInterface(group, 0, netip.Addr{}); i != nil {
			return i, none
		}
		return nil, eNODEV
	}
	for _, i := range s.host.ifaces {
		if i.index == index {
			return i, none
		}
	}
	return nil, eNODEV
}

func (s *sock) find(group netip.Addr, index int) int {
	return slices.IndexFunc(s.groups, func(m membership) bool { return m.group == group && m.index == index })
}

// leaveAll removes the memberships on an interface that was removed. As on Linux, the outgoing
// interface for multicast stays set, to an index that does not exist.
func (s *sock) leaveAll(index int) {
	s.groups = slices.DeleteFunc(s.groups, func(m membership) bool { return m.index == index })
}

// member reports whether the socket has joined a group for a source on an interface.
func (s *sock) member(group, source netip.Addr, index int) bool {
	at := s.find(group, index)
	if at < 0 {
		return false
	}
	m := &s.groups[at]
	return (len(m.sources) == 0 || slices.Contains(m.sources, source)) && !slices.Contains(m.blocked, source)
}

// SetMulticast implements socket.Socket.
func (s *sock) SetMulticast(o socket.MulticastOption, v6 bool, value int) error {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.isClosed() {
		return net.ErrClosed
	}
	f := 0
	if v6 {
		f = 1
	}
	switch o {
	case socket.MulticastTTL:
		if value < 0 || value > 255 {
			return sysErr("setsockopt", eINVAL)
		}
		s.ttl[f] = value
	case socket.MulticastLoopback:
		s.loop[f] = value != 0
	case socket.MulticastInterface:
		if value != 0 && !slices.ContainsFunc(s.host.ifaces, func(i *Interface) bool { return i.index == value }) {
			e := eADDRNOTAVAIL // as on Linux for IPv4
			if v6 {
				e = eNODEV
			}
			return sysErr("setsockopt", e)
		}
		s.out[f] = value
	}
	return nil
}

// Multicast implements socket.Socket.
func (s *sock) Multicast(o socket.MulticastOption, v6 bool) (int, error) {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	f := 0
	if v6 {
		f = 1
	}
	switch o {
	case socket.MulticastTTL:
		return s.ttl[f], nil
	case socket.MulticastLoopback:
		if s.loop[f] {
			return 1, nil
		}
		return 0, nil
	}
	return s.out[f], nil
}

// toAll prepares a multicast or broadcast datagram. It loops a copy to this host, unless the
// socket's options say otherwise, and reports whether the datagram leaves the host. The TTL is the
// message's, 0 for the socket's.
func (s *sock) toAll(p *packet, ttl uint8, r route, now time.Duration) bool {
	n, f, multicast := s.host.net, family(p.dst.Addr()), p.dst.Addr().IsMulticast()
	if multicast {
		p.ttl = cmp.Or(ttl, uint8(s.ttl[f]))
	}
	if r.iface == s.host.lo { // datagrams on lo are always looped back
		return true
	}
	if !multicast || s.loop[f] {
		c := n.clone(p, s.host.lo.out.id)
		n.loop(c, r.iface, now)
	}
	// Linux sends datagrams to interface-local groups by lo only (ip6_finish_output2).
	if p.ttl == 0 || p.dst.Addr().IsInterfaceLocalMulticast() {
		n.free(p)
		return false
	}
	return true
}

// loop schedules the arrival of a multicast or broadcast packet at its own host.
func (n *Net) loop(p *packet, i *Interface, now time.Duration) {
	p.iface, p.from, p.stage = i, i, atHost
	n.schedule(p, now, LinkTime)
}

// wants reports whether a host may have a receiver for a multicast or broadcast datagram that
// arrives on an interface.
func (i *Interface) wants(dst netip.Addr) bool {
	h := i.host
	if h.down || i.down {
		return false
	}
	if !dst.IsMulticast() || h.multicasts {
		return true
	}
	for _, socks := range h.ports.all {
		for _, s := range socks {
			if s.find(dst, i.index) >= 0 {
				return true
			}
		}
	}
	return false
}
