package udptest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/udpkit/udp/internal/socket"
)

// An Interface attaches a host to a segment. Its link has two directions, [Interface.Out] and
// [Interface.In].
type Interface struct {
	host    *Host
	seg     *Segment // nil: loopback
	removed bool     // packets that have left still point to it
	name    string
	index   int
	addrs   []netip.Prefix
	down    bool
	mtu     int // bytes, IP header included
	out, in Pipe

	generation uint64
}

// Name returns the interface's name.
func (i *Interface) Name() string {
	i.host.net.mu.Lock()
	defer i.host.net.mu.Unlock()
	return i.name
}

// Addrs returns the interface's addresses with their prefix lengths. The length is 0 for an
// address added without one: see [Net.Host].
func (i *Interface) Addrs() []netip.Prefix {
	i.host.net.mu.Lock()
	defer i.host.net.mu.Unlock()
	return slices.Clone(i.addrs)
}

// Out returns the direction from the host to the segment.
func (i *Interface) Out() *Pipe { return &i.out }

// In returns the direction from the segment to the host.
func (i *Interface) In() *Pipe { return &i.in }

// SetDown takes the interface down or up, as an administrator does. While it is down the host
// has no route through it; datagrams queued before its link are lost. A broken cable, which
// the host does not notice, is [Pipe.SetDown].
func (i *Interface) SetDown(down bool) {
	i.host.net.mu.Lock()
	defer i.host.net.mu.Unlock()
	if i.down = down; down {
		i.flush()
	}
	i.host.changed()
}

// flush discards the datagrams queued before the link, as Linux does when an interface goes
// down (dev_deactivate). The caller holds the network's lock.
func (i *Interface) flush() {
	now := i.host.net.now()
	i.host.net.events.lose(i, now)
	i.out.stop(now)
	for _, socks := range i.host.ports.all {
		for _, s := range socks {
			s.leaving = slices.DeleteFunc(s.leaving, func(l leaving) bool { return l.by == &i.out })
		}
	}
}

// Remove removes the interface, as unplugging a USB adapter does. Memberships of sockets on it
// are lost, and so are the datagrams queued before its link. Datagrams that have left it are
// still delivered.
func (i *Interface) Remove() {
	i.host.net.t.Helper()
	i.change(func() error {
		h := i.host
		i.seg.ifaces = slices.DeleteFunc(i.seg.ifaces, func(o *Interface) bool { return o == i })
		h.ifaces = slices.DeleteFunc(h.ifaces, func(o *Interface) bool { return o == i })
		for _, p := range i.addrs {
			i.unknown(p)
		}
		i.removed = true
		i.flush()
		for _, socks := range h.ports.all {
			for _, s := range socks {
				s.leaveAll(i.index)
			}
		}
		return nil
	})
}

// AddAddr adds an address to the interface, in the form that [Net.Host] takes.
func (i *Interface) AddAddr(addr string) {
	i.host.net.t.Helper()
	i.change(func() error {
		prefix, err := i.newAddr(addr)
		if err != nil {
			return err
		}
		i.addrs = append(i.addrs, prefix)
		if err := i.checkMTU(); err != nil {
			i.addrs = i.addrs[:len(i.addrs)-1]
			return err
		}
		i.known(prefix)
		return nil
	})
}

// RemoveAddr removes an address from the interface, as the end of a DHCP lease does. Sockets
// bound to it receive nothing from then on.
func (i *Interface) RemoveAddr(addr string) {
	i.host.net.t.Helper()
	i.change(func() error {
		prefix, err := parsePrefix(addr)
		if err != nil {
			return fmt.Errorf("udptest: %s: %w", i.host.name, err)
		}
		at := slices.IndexFunc(i.addrs, func(p netip.Prefix) bool { return p.Addr() == prefix.Addr() })
		if at < 0 {
			return fmt.Errorf("udptest: %s has no address %s on %s", i.host.name, addr, i.name)
		}
		i.unknown(i.addrs[at])
		i.addrs = slices.Delete(i.addrs, at, at+1)
		return nil
	})
}

// SetMTU sets the longest IP packet that the interface sends and receives, in bytes; the
// default is 1500. The host fragments longer datagrams, or returns EMSGSIZE where they must not
// be fragmented. A router returns an ICMP error for a packet that must not be fragmented. As on
// an Ethernet, an interface that receives a packet longer than its MTU drops it without an
// error. IPv6 needs at least 1280.
func (i *Interface) SetMTU(bytes int) {
	i.host.net.t.Helper()
	i.change(func() error {
		if bytes > 65535 {
			return fmt.Errorf("udptest: %s: MTU of %s is %d, and no IP packet is longer than 65535", i.host.name, i.name, bytes)
		}
		old := i.mtu
		i.mtu = bytes
		if err := i.checkMTU(); err != nil {
			i.mtu = old
			return err
		}
		return nil
	})
}

// checkMTU returns an error if the MTU is too short for the interface's addresses.
func (i *Interface) checkMTU() error {
	v6 := slices.ContainsFunc(i.addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if least := socket.MinMTU(v6); i.mtu < least {
		return fmt.Errorf("udptest: %s: MTU of %s is %d, and the minimum is %d", i.host.name, i.name, i.mtu, least)
	}
	return nil
}

// Rename renames the interface. The faults of its link stay.
func (i *Interface) Rename(name string) {
	i.host.net.t.Helper()
	i.change(func() error {
		if err := i.host.freeInterface(name); err != nil {
			return err
		}
		i.name = name
		return nil
	})
}

// change calls f to change the interface, and then notifies the watchers. It fails for lo and
// for an interface that was removed.
func (i *Interface) change(f func() error) {
	i.host.net.t.Helper()
	h := i.host
	h.net.locked(func() error {
		switch {
		case i == h.lo:
			return fmt.Errorf("udptest: %s: the loopback interface cannot be changed", h.name)
		case i.removed:
			return fmt.Errorf("udptest: %s: %s was removed", h.name, i.name)
		}
		defer h.changed()
		return f()
	})
}

// freeInterface returns an error if no other interface of the host may have that name.
func (h *Host) freeInterface(name string) error {
	if !validName(name) {
		return fmt.Errorf("udptest: %s: invalid interface name %q", h.name, name)
	}
	if slices.ContainsFunc(h.ifaces, func(i *Interface) bool { return i.name == name }) {
		return fmt.Errorf("udptest: %s: duplicate interface %s", h.name, name)
	}
	return nil
}

// newAddr parses an address to be added to the interface.
func (i *Interface) newAddr(text string) (netip.Prefix, error) {
	h := i.host
	prefix, err := parsePrefix(text)
	if err != nil {
		return prefix, fmt.Errorf("udptest: %s: %w", h.name, err)
	}
	a := prefix.Addr()
	if other := i.seg.byAddr[a]; other != nil {
		return prefix, fmt.Errorf("udptest: %s: %v is an address of %s", h.name, a, other.host.name)
	}
	if h.iface(a) != nil || slices.ContainsFunc(i.addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
		return prefix, fmt.Errorf("udptest: %s: duplicate address %v", h.name, a)
	}
	return prefix, nil
}

// known publishes an address of the interface on the segment and in the host's name; unknown
// undoes that.
func (i *Interface) known(p netip.Prefix) {
	names := i.host.net.names
	i.seg.byAddr[p.Addr()] = i
	key := strings.ToLower(i.host.name)
	names[key] = append(names[key], p.Addr())
}

func (i *Interface) unknown(p netip.Prefix) {
	names := i.host.net.names
	delete(i.seg.byAddr, p.Addr())
	key := strings.ToLower(i.host.name)
	names[key] = slices.DeleteFunc(names[key], func(a netip.Addr) bool { return a == p.Addr() })
}

// parsePrefix parses an address with or without a prefix length. Without one, all addresses of
// the family are on the link (a length of 0), or those with the link-local prefix.
func parsePrefix(s string) (netip.Prefix, error) {
	var p netip.Prefix
	a, err := netip.ParseAddr(s)
	if err == nil {
		p = netip.PrefixFrom(a.Unmap(), 0)
	} else if p, err = netip.ParsePrefix(s); err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix", s)
	}
	switch a := p.Addr(); {
	case a.Zone() != "":
		return p, fmt.Errorf("%q: the address of an interface has no zone", s)
	case a.IsMulticast(), a.IsUnspecified(), a.IsLoopback(), a == broadcast4:
		return p, fmt.Errorf("%v is not a unicast address of an interface", a)
	case a.Is4() && p.Bits() > 0 && p.Bits() <= 30 && (a == p.Masked().Addr() || a == last(p)):
		return p, fmt.Errorf("%v is the address of the network or its broadcast address", p)
	case a.IsLinkLocalUnicast() && p.Bits() == 0:
		p = netip.PrefixFrom(a, 64)
		if a.Is4() {
			p = netip.PrefixFrom(a, 16)
		}
	}
	return p, nil
}

// last returns the last address of an IPv4 prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | uint32(1)<<(32-p.Bits()) - 1
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// NetInterface returns the interface as the host's programs see it, for example to join a
// group on it.
func (i *Interface) NetInterface() *net.Interface {
	i.host.net.mu.Lock()
	defer i.host.net.mu.Unlock()
	ifi := i.info().Interface
	return &ifi
}

func (i *Interface) info() socket.Interface {
	flags := net.FlagMulticast | net.FlagBroadcast
	if i == i.host.lo {
		flags = net.FlagLoopback
	}
	if !i.down {
		flags |= net.FlagUp | net.FlagRunning
	}
	return socket.Interface{
		Interface:  net.Interface{Index: i.index, MTU: i.mtu, Name: i.name, Flags: flags},
		Addrs:      slices.Clone(i.addrs),
		Generation: i.generation,
	}
}
