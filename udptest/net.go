package udptest

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Config configures a [Net]. The zero value is useful.
type Config struct {
	// Seed determines every random decision. Two runs with the same Seed are the same; see
	// the package documentation for the conditions, and for what a new version may change.
	Seed uint64

	// Trace is the number of events that [Net.Trace] returns. 0 means 200 if the Net has a
	// test and none otherwise; a negative number means none.
	Trace int

	// Tick rounds times of arrival up to its multiples; 0 means exact times. A large network
	// runs faster with a Tick of a millisecond, because more datagrams arrive together.
	Tick time.Duration

	// Faults are the initial faults of every link.
	Faults Faults
}

// A Net is a simulated network. Its methods, and those of its hosts, interfaces and pipes, may
// be called from any goroutine at any time. A Net needs no closing: while no datagram is in
// flight it has no goroutine.
type Net struct {
	cfg   Config
	t     testing.TB // noTest if NewNet got nil
	start time.Time

	// mu guards the whole network, except for the queues of the sockets. It is never held
	// while waiting. A socket's own lock is taken after it.
	mu       sync.Mutex
	segments []*Segment
	hosts    []*Host
	paths    map[[2]*Host]*Pipe
	names    map[string][]netip.Addr
	parts    map[*Host]int // which side of a partition; empty: none
	events   events
	noticed  time.Duration // when the sockets have noticed the last change of an interface
	trace    trace
}

// A Segment connects interfaces like an Ethernet. It carries unicast, multicast and broadcast
// datagrams between them.
type Segment struct {
	net    *Net
	name   string
	ifaces []*Interface
	byAddr map[netip.Addr]*Interface
}

// NewNet returns a network without hosts.
//
// An invalid network, for example with two hosts of one address, fails t with Fatal. When t has
// failed for any reason, the Net logs its drawing and the last datagrams ([Net.String],
// [Net.Trace]). When t ends, it logs the sockets that are still open. In an example or a
// program t may be nil; then an invalid network panics with an error.
func NewNet(t testing.TB, cfg Config) *Net {
	n := &Net{
		cfg: cfg, t: t, start: time.Now(), paths: make(map[[2]*Host]*Pipe),
		names: make(map[string][]netip.Addr), parts: make(map[*Host]int),
	}
	if t == nil {
		n.t = noTest{}
	}
	n.t.Helper()
	n.events.net = n
	switch err := cfg.Faults.Validate(); {
	case err != nil:
		n.fail(err)
	case cfg.Tick < 0:
		n.fail(fmt.Errorf("udptest: Tick is negative: %v", cfg.Tick))
	}
	n.trace.size = cfg.Trace
	if t != nil {
		if cfg.Trace == 0 {
			n.trace.size = 200
		}
		t.Cleanup(func() {
			if t.Failed() && n.trace.size > 0 {
				t.Logf("udptest: the network and its last datagrams:\n%s%s", n, n.Trace())
			}
			if open := n.open(); len(open) > 0 {
				t.Logf("udptest: sockets that are still open, so that a bubble cannot end: %s", strings.Join(open, ", "))
			}
		})
	}
	return n
}

// open returns the names of the sockets that are not closed.
func (n *Net) open() (names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		names = append(names, h.open()...)
	}
	return names
}

// noTest is the test of a network that has none.
type noTest struct{ testing.TB }

func (noTest) Helper() {}

func (noTest) Fatal(args ...any) { panic(args[0]) }

func (noTest) Cleanup(func()) {}

// fail fails the test for a network that is built or used wrongly. It and all its callers in
// this package are Helpers, so that the failure shows the line of the test.
func (n *Net) fail(err error) {
	n.t.Helper()
	n.t.Fatal(err)
	panic(err) // t is a fake whose Fatal returns
}

// check fails the test for an error. It must be called without the lock.
func (n *Net) check(err error) {
	if err != nil {
		n.t.Helper()
		n.fail(err)
	}
}

// locked calls f with the lock held, and fails the test for its error.
func (n *Net) locked(f func() error) {
	n.t.Helper()
	n.check(func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		return f()
	}())
}

// now returns the time since the network was created.
func (n *Net) now() time.Duration { return time.Since(n.start) }

// Segment adds a segment. A network that needs only one has it already: see [Net.Host].
func (n *Net) Segment(name string) *Segment {
	n.t.Helper()
	var s *Segment
	n.locked(func() error {
		if name == "" {
			return fmt.Errorf("udptest: segment without a name")
		}
		for _, other := range n.segments {
			if other.name == name {
				return fmt.Errorf("udptest: duplicate segment %q", name)
			}
		}
		s = n.segment(name)
		return nil
	})
	return s
}

func (n *Net) segment(name string) *Segment {
	s := &Segment{net: n, name: name, byAddr: make(map[netip.Addr]*Interface)}
	n.segments = append(n.segments, s)
	return s
}

// lan returns the segment of hosts that Net.Host adds.
func (n *Net) lan() *Segment {
	for _, s := range n.segments {
		if s.name == "lan" {
			return s
		}
	}
	return n.segment("lan")
}

// Host adds a host with two interfaces: eth0 on the segment "lan", which is created when
// needed, and lo. An address may have a prefix length ("10.0.0.1/24") that says which addresses
// are on the link; without one, all addresses of the family are. Every host of the network
// resolves the name to the addresses. Case does not matter.
func (n *Net) Host(name string, addrs ...string) *Host {
	n.t.Helper()
	var h *Host
	n.locked(func() (err error) {
		if h, err = n.host(name); err != nil {
			return err
		}
		_, err = h.attach("eth0", n.lan(), addrs)
		return err
	})
	return h
}

// Host adds a host like [Net.Host], with eth0 on this segment.
func (s *Segment) Host(name string, addrs ...string) *Host {
	s.net.t.Helper()
	var h *Host
	s.net.locked(func() (err error) {
		if h, err = s.net.host(name); err != nil {
			return err
		}
		_, err = h.attach("eth0", s, addrs)
		return err
	})
	return h
}

func (n *Net) host(name string) (*Host, error) {
	if !validName(name) {
		return nil, fmt.Errorf("udptest: invalid host name %q", name)
	}
	if err := n.freeName(name); err != nil {
		return nil, err
	}
	h := newHost(n, name, uint64(len(n.hosts)+1))
	n.hosts = append(n.hosts, h)
	n.names[strings.ToLower(name)] = nil
	return h, nil
}

// freeName returns an error if a name is taken. Names are compared without regard to case, as
// in the DNS.
func (n *Net) freeName(name string) error {
	key := strings.ToLower(name)
	if key == "localhost" {
		return fmt.Errorf("udptest: localhost is the name of every host for itself")
	}
	if _, taken := n.names[key]; taken {
		return fmt.Errorf("udptest: duplicate host name %q", name)
	}
	return nil
}

// validName reports whether a host or an interface may have a name. Characters with a meaning
// in addresses and zones are not allowed.
func validName(name string) bool { return name != "" && !strings.ContainsAny(name, " \t\r\n:/%") }

func (s *Segment) has(h *Host) bool {
	return slices.ContainsFunc(s.ifaces, func(i *Interface) bool { return i.host == h })
}

// AddName makes a name resolve to addresses, as DNS records do.
func (n *Net) AddName(name string, addrs ...string) {
	n.t.Helper()
	n.locked(func() error {
		if err := n.freeName(name); err != nil {
			return err
		}
		if len(addrs) == 0 {
			return fmt.Errorf("udptest: name %q: no addresses", name)
		}
		var as []netip.Addr
		for _, s := range addrs {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("udptest: name %q: %w", name, err)
			}
			as = append(as, a.Unmap())
		}
		n.names[strings.ToLower(name)] = as
		return nil
	})
}

// Path returns the pipe from one host to another host of the same segment. Datagrams pass it
// after the sender's link and before the receiver's. Its faults, initially none, affect only
// this pair of hosts. [Net.SetPath] sets both directions.
func (n *Net) Path(from, to *Host) *Pipe {
	n.t.Helper()
	var p *Pipe
	n.locked(func() error {
		if from == nil || to == nil || from.net != n || to.net != n {
			return fmt.Errorf("udptest: a path connects two hosts of this network")
		}
		if from == to {
			return fmt.Errorf("udptest: a path from %s to itself: use its interface lo", from.name)
		}
		if !slices.ContainsFunc(n.segments, func(s *Segment) bool { return s.has(from) && s.has(to) }) {
			return fmt.Errorf("udptest: %s and %s share no segment", from.name, to.name)
		}
		key := [2]*Host{from, to}
		if p = n.paths[key]; p == nil {
			p = n.pipe(from.name + " -> " + to.name)
			p.faults, p.perfect = Faults{}, true // Config.Faults are for links
			n.paths[key] = p
		}
		return nil
	})
	return p
}

// SetPath sets the faults of both paths between two hosts.
func (n *Net) SetPath(a, b *Host, f Faults) {
	n.t.Helper()
	n.Path(a, b).Set(f)
	n.Path(b, a).Set(f)
}

// Partition divides the hosts into groups. Datagrams pass within a group and are lost between
// groups. Hosts in no group form one more. It replaces an earlier partition.
func (n *Net) Partition(groups ...[]*Host) {
	n.t.Helper()
	n.locked(func() error {
		parts := make(map[*Host]int)
		for i, g := range groups {
			for _, h := range g {
				if h == nil || h.net != n {
					return fmt.Errorf("udptest: a partition divides hosts of this network")
				}
				if _, twice := parts[h]; twice {
					return fmt.Errorf("udptest: %s is in two groups of the partition", h.name)
				}
				parts[h] = i + 1
			}
		}
		n.parts = parts
		return nil
	})
}

// Heal ends a partition.
func (n *Net) Heal() {
	n.t.Helper()
	n.Partition()
}

// pipe returns a new pipe. Its number depends on its name only, so that the other links of
// the network do not affect its random decisions.
func (n *Net) pipe(name string) *Pipe {
	h := fnv.New64a()
	h.Write([]byte(name))
	return &Pipe{net: n, name: name, id: h.Sum64(), perfect: n.cfg.Faults.none(), faults: n.cfg.Faults, free: never, left: never}
}
