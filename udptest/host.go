package udptest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
)

// A Host has interfaces with addresses, and sockets.
type Host struct {
	net                    *Net
	name                   string
	id                     uint64
	lo                     *Interface
	ifaces                 []*Interface // lo first
	gateways               []netip.Addr
	ports                  map[uint16][]*sock // in the order of binding
	opened, attached, sent uint64             // sockets, interfaces, datagrams so far
	watchers               []*watcher
	down                   bool // crashed

	forwards, multicasts bool // a router
	nat                  *nat
	filter               Filter
	mtus                 map[netip.Addr]learned
	limits               map[netip.Addr]*limit // of ICMP messages
	injected             []*injection
	injecting            atomic.Bool
	recorder             *Recorder
}

// An Interface is what attaches a host to a segment. Its link has two
// directions, [Interface.Out] and [Interface.In].
type Interface struct {
	host    *Host
	seg     *Segment // nil: loopback, or removed
	name    string
	index   int
	addrs   []netip.Prefix
	down    bool
	out, in Pipe

	generation uint64
}

func newHost(n *Net, name string, id uint64) *Host {
	h := &Host{net: n, name: name, id: id, ports: make(map[uint16][]*sock)}
	h.lo = &Interface{host: h, name: "lo", index: 1, addrs: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128"),
	}}
	h.lo.out = *n.pipe(name + " lo")
	h.lo.out.faults = Faults{}
	h.ifaces = []*Interface{h.lo}
	return h
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Addr returns the host's first address, the zero Addr if it has none.
func (h *Host) Addr() netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, i := range h.ifaces[1:] {
		if len(i.addrs) > 0 {
			return i.addrs[0].Addr()
		}
	}
	return netip.Addr{}
}

// Network returns what udp.Config.Network wants: sockets made with it are on
// this host.
func (h *Host) Network() udp.Network { return network{h} }

// Attach adds an interface on a segment.
func (h *Host) Attach(s *Segment, name string, addrs ...string) *Interface {
	var i *Interface
	h.net.locked(func() (err error) {
		if s == nil || s.net != h.net {
			return fmt.Errorf("udptest: %s: no such segment in this network", h.name)
		}
		i, err = h.attach(name, s, addrs)
		h.changed()
		return err
	})
	return i
}

func (h *Host) attach(name string, s *Segment, addrs []string) (*Interface, error) {
	h.attached++
	i := &Interface{host: h, seg: s, name: name, index: h.ifaces[len(h.ifaces)-1].index + 1, generation: h.attached}
	for _, other := range h.ifaces {
		if other.name == name {
			return nil, fmt.Errorf("udptest: %s has an interface %s already", h.name, name)
		}
	}
	for _, text := range addrs {
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("udptest: %s: %w", h.name, err)
		}
		a := prefix.Addr()
		if other := s.byAddr[a]; other != nil {
			return nil, fmt.Errorf("udptest: %s: %v is an address of %s already", h.name, a, other.host.name)
		}
		if h.iface(a) != nil || slices.ContainsFunc(i.addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return nil, fmt.Errorf("udptest: %s has the address %v already", h.name, a)
		}
		i.addrs = append(i.addrs, prefix)
	}
	for _, p := range i.addrs {
		s.byAddr[p.Addr()] = i
		h.net.names[h.name] = append(h.net.names[h.name], p.Addr())
	}
	i.out = *h.net.pipe(h.name + " " + name + " out")
	i.in = *h.net.pipe(h.name + " " + name + " in")
	h.ifaces = append(h.ifaces, i)
	s.ifaces = append(s.ifaces, i)
	return i, nil
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
	case a.IsLinkLocalUnicast() && p.Bits() == 0:
		p = netip.PrefixFrom(a, 64)
		if a.Is4() {
			p = netip.PrefixFrom(a, 16)
		}
	}
	return p, nil
}

// Gateway sends what is for nobody on the host's links to a router; one for each
// family.
func (h *Host) Gateway(addr string) {
	h.net.locked(func() error {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return fmt.Errorf("udptest: %s: gateway: %w", h.name, err)
		}
		if h.onLink(a) == nil {
			return fmt.Errorf("udptest: %s can't reach its gateway %v: it is on none of its links", h.name, a)
		}
		h.gateways = slices.DeleteFunc(h.gateways, func(g netip.Addr) bool { return g.Is4() == a.Is4() })
		h.gateways = append(h.gateways, a)
		return nil
	})
}

// Interface returns the interface of that name; a host without it is a failure.
func (h *Host) Interface(name string) *Interface {
	var found *Interface
	h.net.locked(func() error {
		for _, i := range h.ifaces {
			if i.name == name {
				found = i
				return nil
			}
		}
		return fmt.Errorf("udptest: %s has no interface %q", h.name, name)
	})
	return found
}

// Out returns the direction from the host to the network of its first link.
func (h *Host) Out() *Pipe { return h.first().Out() }

// In returns the direction from the network to the host of its first link.
func (h *Host) In() *Pipe { return h.first().In() }

func (h *Host) first() *Interface {
	var i *Interface
	h.net.locked(func() error {
		if len(h.ifaces) < 2 {
			return fmt.Errorf("udptest: %s has no link", h.name)
		}
		i = h.ifaces[1]
		return nil
	})
	return i
}

// Crash ends the host as a loss of power does: nothing leaves or arrives any
// more, and nobody is told. The sockets it had stay silent for ever, also after
// Restart: their programs have to make new ones, and to close the old ones.
func (h *Host) Crash() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = true
	for _, socks := range h.ports {
		for _, s := range socks {
			s.die()
		}
	}
	clear(h.ports)
	h.nat.forget()
}

// Restart brings a crashed host back, without sockets.
func (h *Host) Restart() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = false
}

// Name returns the interface's name.
func (i *Interface) Name() string { return i.name }

// Out returns the direction from the host to the segment.
func (i *Interface) Out() *Pipe { return &i.out }

// In returns the direction from the segment to the host.
func (i *Interface) In() *Pipe { return &i.in }

// SetDown takes the interface down, or up again, for the host to see: it has no
// route by it while it is down. For a broken cable, of which the host knows
// nothing, see [Pipe.SetDown].
func (i *Interface) SetDown(down bool) {
	i.host.net.mu.Lock()
	defer i.host.net.mu.Unlock()
	i.down = down
	i.host.changed()
}

// Remove takes the interface away, as when a cable is pulled out with its
// adapter; what sockets have joined on it is gone with it.
func (i *Interface) Remove() {
	h := i.host
	h.net.locked(func() error {
		if i == h.lo {
			return fmt.Errorf("udptest: %s: the loopback interface can't be removed", h.name)
		}
		if i.seg == nil {
			return fmt.Errorf("udptest: %s: %s was removed already", h.name, i.name)
		}
		i.seg.ifaces = slices.DeleteFunc(i.seg.ifaces, func(o *Interface) bool { return o == i })
		h.ifaces = slices.DeleteFunc(h.ifaces, func(o *Interface) bool { return o == i })
		for _, p := range i.addrs {
			delete(i.seg.byAddr, p.Addr())
			h.net.names[h.name] = slices.DeleteFunc(h.net.names[h.name], func(a netip.Addr) bool { return a == p.Addr() })
		}
		i.seg = nil
		for _, socks := range h.ports {
			for _, s := range socks {
				s.leaveAll(i.index)
			}
		}
		h.changed()
		return nil
	})
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

func (i *Interface) describe() string {
	var s []string
	for _, p := range i.addrs {
		if p.Bits() == 0 {
			s = append(s, p.Addr().String())
		} else {
			s = append(s, p.String())
		}
	}
	text := fmt.Sprintf("%s %s %s", i.host.name, i.name, strings.Join(s, " "))
	if i.host.forwards {
		text += " (router)"
	}
	if i.host.nat != nil && i.host.nat.outside == i {
		text += " (NAT)"
	}
	if i.down {
		text += " (down)"
	}
	if i.host.down {
		text += " (crashed)"
	}
	return text
}
