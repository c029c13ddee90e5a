package udptest

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp"
)

// A Host is a machine with interfaces and sockets. It behaves as Linux does. See [Net.Host]
// and [Net.Router].
type Host struct {
	net                    *Net
	name                   string
	id                     uint64
	lo                     *Interface
	ifaces                 []*Interface // lo first
	addrs                  []ownAddr    // of all interfaces, in their order
	gateways               []netip.Addr
	ports                  ports
	opened, attached, sent uint64 // sockets, interfaces, datagrams so far
	watchers               []*watcher
	down                   bool // crashed
	paused                 atomic.Bool

	forwards, multicasts bool // a router
	nat                  *nat
	filter               Filter
	looking              map[netip.Addr]time.Duration // for neighbors, since when
	mtus                 map[netip.Addr]learned
	limits               map[netip.Addr]*limit // of ICMP messages
	injected             []*injection
	injecting            atomic.Bool
	recorder             *Recorder
	dead                 []*sock // opened before a crash and not closed yet
}

// open returns the names of the sockets that are not closed. The caller holds the network's
// lock.
func (h *Host) open() (names []string) {
	socks := slices.Clone(h.dead)
	for _, of := range h.ports.all {
		socks = append(socks, of...)
	}
	slices.SortFunc(socks, func(a, b *sock) int { return cmp.Compare(a.id, b.id) })
	for _, s := range socks {
		if !s.isClosed() {
			names = append(names, fmt.Sprintf("%s %v", h.name, netip.AddrPortFrom(s.local, s.port)))
		}
	}
	return names
}

// ownAddr is an address of a host. They are in one slice, because every datagram is compared
// with all of them.
type ownAddr struct {
	netip.Prefix
	iface *Interface
}

// The MTUs of an Ethernet, and of Linux's loopback interface.
const (
	ethernetMTU = 1500
	loopbackMTU = 65536
)

func newHost(n *Net, name string, id uint64) *Host {
	h := &Host{net: n, name: name, id: id, ports: ports{all: make(map[uint16][]*sock)}}
	h.lo = &Interface{host: h, name: "lo", index: 1, mtu: loopbackMTU, addrs: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128"),
	}}
	for name, p := range map[string]*Pipe{name + " lo": &h.lo.out, name + " lo in": &h.lo.in} {
		*p = *n.pipe(name)
		p.faults, p.perfect = Faults{}, true
	}
	h.lo.out.sender = h
	h.ifaces = []*Interface{h.lo}
	h.addressed()
	return h
}

// addressed recomputes addrs after a change of the interfaces.
func (h *Host) addressed() {
	h.addrs = nil
	for _, i := range h.ifaces {
		for _, p := range i.addrs {
			h.addrs = append(h.addrs, ownAddr{p, i})
		}
	}
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Addr returns the host's first address, or the zero Addr if it has none.
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

// Network returns the network of this host, for udp.Config.Network.
func (h *Host) Network() udp.Network { return network{h} }

// Config returns a udp.Config whose sockets are on this host. All other fields are zero, and
// may be set.
//
//	server, err := host.Config().Listen(ctx, "udp", ":53", handler)
func (h *Host) Config() udp.Config { return udp.Config{Network: h.Network()} }

// Attach adds an interface on a segment. The interface reuses the index of the one that was
// removed last, if any, so that tests cover a reused index. Linux reuses an index only after a
// long time, or when a program asks for it.
func (h *Host) Attach(s *Segment, name string, addrs ...string) *Interface {
	h.net.t.Helper()
	var i *Interface
	h.net.locked(func() (err error) {
		if s == nil || s.net != h.net {
			return fmt.Errorf("udptest: %s: the segment is not of this network", h.name)
		}
		i, err = h.attach(name, s, addrs)
		h.changed()
		return err
	})
	return i
}

func (h *Host) attach(name string, s *Segment, addrs []string) (*Interface, error) {
	h.attached++
	i := &Interface{host: h, seg: s, name: name, mtu: ethernetMTU, index: h.ifaces[len(h.ifaces)-1].index + 1, generation: h.attached}
	if err := h.freeInterface(name); err != nil {
		return nil, err
	}
	for _, text := range addrs {
		prefix, err := i.newAddr(text)
		if err != nil {
			return nil, err
		}
		i.addrs = append(i.addrs, prefix)
	}
	for _, p := range i.addrs {
		i.known(p)
	}
	i.out = *h.net.pipe(h.name + " " + name + " out")
	i.in = *h.net.pipe(h.name + " " + name + " in")
	i.out.sender = h
	h.ifaces = append(h.ifaces, i)
	h.addressed()
	s.ifaces = append(s.ifaces, i)
	return i, nil
}

// SetGateway sets the router for addresses that are not on the host's links. The router's
// interface must exist. A host has one gateway for IPv4 and one for IPv6.
func (h *Host) SetGateway(addr string) {
	h.net.t.Helper()
	h.net.locked(func() error {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return fmt.Errorf("udptest: %s: gateway: %w", h.name, err)
		}
		i := h.onLink(a)
		switch {
		case h.owns(a):
			return fmt.Errorf("udptest: %s is its own gateway: %v", h.name, a)
		case i == nil:
			return fmt.Errorf("udptest: %s cannot reach its gateway %v: it is on none of its links", h.name, a)
		case i.seg.byAddr[a] == nil:
			return fmt.Errorf("udptest: %s: no interface has the address of its gateway %v", h.name, a)
		}
		h.gateways = slices.DeleteFunc(h.gateways, func(g netip.Addr) bool { return g.Is4() == a.Is4() })
		h.gateways = append(h.gateways, a)
		return nil
	})
}

// Interface returns the interface of that name. If the host has none, the test fails.
func (h *Host) Interface(name string) *Interface {
	h.net.t.Helper()
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

// Out returns the direction of the host's first link that leads to the network.
func (h *Host) Out() *Pipe {
	h.net.t.Helper()
	return h.first().Out()
}

// In returns the direction of the host's first link that leads to the host.
func (h *Host) In() *Pipe {
	h.net.t.Helper()
	return h.first().In()
}

// SetLink sets the faults of each direction of the host's first link. A round trip meets the
// Latency twice.
//
//	phone.SetLink(udptest.LTE())
func (h *Host) SetLink(f Faults) {
	h.net.t.Helper()
	i := h.first()
	i.out.Set(f)
	i.in.Set(f)
}

func (h *Host) first() *Interface {
	h.net.t.Helper()
	var i *Interface
	h.net.locked(func() error {
		if len(h.ifaces) < 2 {
			return fmt.Errorf("udptest: %s has no interface other than lo", h.name)
		}
		i = h.ifaces[1]
		return nil
	})
	return i
}

// wakeSenders makes sends that wait for room try again after a change of the network. The
// caller holds the network's lock.
func (h *Host) wakeSenders() {
	for _, socks := range h.ports.all {
		for _, s := range socks {
			s.mu.Lock()
			s.wakeSenders()
			s.mu.Unlock()
		}
	}
}

// Crash stops the host as a power failure does. Nothing leaves or arrives. The existing sockets
// stay silent without an error, even after Restart: programs must close them and open new ones.
func (h *Host) Crash() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = true
	for _, socks := range h.ports.all {
		for _, s := range socks {
			s.die()
			h.dead = append(h.dead, s)
		}
	}
	h.ports.clear()
	h.nat.forget()
	h.looking, h.mtus, h.limits = nil, nil, nil
	for _, i := range h.ifaces {
		i.flush()
	}
}

// Restart starts a crashed host again, without sockets.
func (h *Host) Restart() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = false
}

// Pause separates the programs of the host from its kernel, as if SIGSTOP or a long garbage
// collection had stopped them. Sockets read nothing, so their receive buffers fill up and
// overflow. Sends wait until Resume or the write deadline. The host still sends ICMP errors.
// Goroutines and timers of the programs continue to run.
//
// In a virtual machine that is paused, the kernel stops too: use SetDown on In and Out.
func (h *Host) Pause() { h.paused.Store(true) }

// Resume ends a Pause. The sockets read what is in their receive buffers.
func (h *Host) Resume() {
	h.paused.Store(false)
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.wakeSenders()
	for _, socks := range h.ports.all {
		for _, s := range socks {
			signal(s.readable)
		}
	}
}
