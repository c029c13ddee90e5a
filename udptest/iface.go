package udptest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/udpkit/udp/internal/socket"
)

// An Interface is what attaches a host to a segment. Its link has two
// directions, [Interface.Out] and [Interface.In].
type Interface struct {
	host    *Host
	seg     *Segment // nil: loopback
	removed bool     // what is on the wire still is
	name    string
	index   int
	addrs   []netip.Prefix
	down    bool
	out, in Pipe

	generation uint64
}

// Name returns the interface's name.
func (i *Interface) Name() string {
	i.host.net.mu.Lock()
	defer i.host.net.mu.Unlock()
	return i.name
}

// Out returns the direction from the host to the segment.
func (i *Interface) Out() *Pipe { return &i.out }

// In returns the direction from the segment to the host.
func (i *Interface) In() *Pipe { return &i.in }

// SetDown takes the interface down, or up again, for the host to see: it has no
// route by it while it is down, and what waits before its link is lost. For a broken
// cable, of which the host knows nothing, see [Pipe.SetDown].
func (i *Interface) SetDown(down bool) {
	i.host.net.mu.Lock()
	defer i.host.net.mu.Unlock()
	if i.down = down; down {
		i.flush()
	}
	i.host.changed()
}

// flush throws away what waits before the link, as Linux does when an interface goes
// down (dev_deactivate). It needs the network's lock.
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

// Remove takes the interface away, as when a cable is pulled out with its
// adapter; what sockets have joined on it is gone with it, and what waits before its
// link. What is on the wire already goes on.
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

// AddAddr gives the interface one more address; it is written as for [Net.Host].
func (i *Interface) AddAddr(addr string) {
	i.host.net.t.Helper()
	i.change(func() error {
		prefix, err := i.newAddr(addr)
		if err != nil {
			return err
		}
		i.addrs = append(i.addrs, prefix)
		i.known(prefix)
		return nil
	})
}

// RemoveAddr takes an address from the interface, as when its lease has run out.
// Sockets that are bound to it hear nothing any more.
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

// Rename gives the interface another name. What its link does to datagrams stays
// as it is.
func (i *Interface) Rename(name string) {
	i.host.net.t.Helper()
	i.change(func() error {
		if err := i.host.free(name); err != nil {
			return err
		}
		i.name = name
		return nil
	})
}

// change changes an interface that is there, other than lo, and tells the
// watchers.
func (i *Interface) change(f func() error) {
	i.host.net.t.Helper()
	h := i.host
	h.net.locked(func() error {
		switch {
		case i == h.lo:
			return fmt.Errorf("udptest: %s: the loopback interface stays as it is", h.name)
		case i.removed:
			return fmt.Errorf("udptest: %s: %s was removed already", h.name, i.name)
		}
		defer h.changed()
		return f()
	})
}

// free is an error if the host can't have another interface of that name.
func (h *Host) free(name string) error {
	if !named(name) {
		return fmt.Errorf("udptest: %s: %q can't be an interface's name", h.name, name)
	}
	if slices.ContainsFunc(h.ifaces, func(i *Interface) bool { return i.name == name }) {
		return fmt.Errorf("udptest: %s has an interface %s already", h.name, name)
	}
	return nil
}

// newAddr parses an address that the interface may have beside those it has.
func (i *Interface) newAddr(text string) (netip.Prefix, error) {
	h := i.host
	prefix, err := parsePrefix(text)
	if err != nil {
		return prefix, fmt.Errorf("udptest: %s: %w", h.name, err)
	}
	a := prefix.Addr()
	if other := i.seg.byAddr[a]; other != nil {
		return prefix, fmt.Errorf("udptest: %s: %v is an address of %s already", h.name, a, other.host.name)
	}
	if h.iface(a) != nil || slices.ContainsFunc(i.addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
		return prefix, fmt.Errorf("udptest: %s has the address %v already", h.name, a)
	}
	return prefix, nil
}

// known makes an address of the interface one that others find, and unknown
// undoes it.
func (i *Interface) known(p netip.Prefix) {
	names := i.host.net.names
	i.seg.byAddr[p.Addr()] = i
	names[i.host.name] = append(names[i.host.name], p.Addr())
}

func (i *Interface) unknown(p netip.Prefix) {
	names := i.host.net.names
	delete(i.seg.byAddr, p.Addr())
	names[i.host.name] = slices.DeleteFunc(names[i.host.name], func(a netip.Addr) bool { return a == p.Addr() })
}

// parsePrefix takes an address, which has everybody on its link, or a prefix.
func parsePrefix(s string) (netip.Prefix, error) {
	var p netip.Prefix
	a, err := netip.ParseAddr(s)
	if err == nil {
		p = netip.PrefixFrom(a.Unmap(), 0)
	} else if p, err = netip.ParsePrefix(s); err != nil {
		return p, fmt.Errorf("%q is neither an address nor one with a prefix length", s)
	}
	switch a := p.Addr(); {
	case a.Zone() != "":
		return p, fmt.Errorf("%q: an address of an interface needs no zone", s)
	case a.IsMulticast(), a.IsUnspecified(), a.IsLoopback(), a == broadcast4:
		return p, fmt.Errorf("%v can't be the address of an interface", a)
	case a.Is4() && p.Bits() > 0 && p.Bits() <= 30 && (a == p.Masked().Addr() || a == last(p)):
		return p, fmt.Errorf("%v can't be the address of an interface: it is the network's, or for broadcast", p)
	case a.IsLinkLocalUnicast() && p.Bits() == 0:
		p = netip.PrefixFrom(a, 64)
		if a.Is4() {
			p = netip.PrefixFrom(a, 16)
		}
	}
	return p, nil
}

// last is the last address of an IPv4 prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | uint32(1)<<(32-p.Bits()) - 1
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// Interface returns what the system tells about it; it is what Join wants.
func (i *Interface) Interface() *net.Interface {
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
		Interface:  net.Interface{Index: i.index, MTU: i.mtu(), Name: i.name, Flags: flags},
		Addrs:      slices.Clone(i.addrs),
		Generation: i.generation,
	}
}

// mtu is that of Linux's loopback interface, and of Ethernet.
func (i *Interface) mtu() int {
	if i == i.host.lo {
		return 65536
	}
	return 1500
}
