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

// A Config says how a [Net] is made. The zero value serves.
type Config struct {
	// Seed decides what the faults do. Two runs with the same Seed are the same.
	Seed uint64

	// T, if set, fails when the network is built wrongly, and gets a trace of the
	// last datagrams when it has failed for whatever reason, and, when it ends, the
	// names of sockets that were left open. Without it, building wrongly panics with
	// an error.
	T testing.TB

	// Trace is how many of the last events are kept, see [Net.Trace]; 0 is 200
	// with T and none without, a negative number none.
	Trace int

	// Tick rounds the times of arrival up to its multiples. Large networks run
	// faster with a millisecond, since more happens at one instant; 0 is exact.
	Tick time.Duration

	// Faults are those of every link until others are set.
	Faults Faults
}

// A Net is a simulated network. Its methods, and those of everything in it, may
// be called from any goroutine, also while datagrams are on their way. It needs
// no closing: it has no goroutine while nothing is on its way.
type Net struct {
	cfg   Config
	t     testing.TB // cfg.T, or nobody
	start time.Time

	// mu guards the whole network but for what lies in the sockets' queues. It is
	// never held while waiting.
	mu       sync.Mutex
	segments []*Segment
	hosts    []*Host
	paths    map[[2]*Host]*Pipe
	names    map[string][]netip.Addr
	parts    map[*Host]int // which side of a partition; empty: none
	events   events
	trace    trace
}

// A Segment is what hosts are attached to: like an Ethernet, it carries
// datagrams between all of its interfaces, multicast and broadcast too.
type Segment struct {
	net    *Net
	name   string
	ifaces []*Interface
	byAddr map[netip.Addr]*Interface
}

// NewNet makes a network without hosts.
func NewNet(cfg Config) *Net {
	n := &Net{
		cfg: cfg, t: cfg.T, start: time.Now(), paths: make(map[[2]*Host]*Pipe),
		names: make(map[string][]netip.Addr), parts: make(map[*Host]int),
	}
	if cfg.T == nil {
		n.t = nobody{}
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
	if cfg.T != nil {
		if cfg.Trace == 0 {
			n.trace.size = 200
		}
		cfg.T.Cleanup(func() {
			if cfg.T.Failed() {
				cfg.T.Logf("udptest: the network and its last datagrams:\n%s%s", n, n.Trace())
			}
			if open := n.open(); len(open) > 0 {
				cfg.T.Logf("udptest: sockets that nobody has closed, without which no bubble ends: %s", strings.Join(open, ", "))
			}
		})
	}
	return n
}

// open names the sockets that are not closed.
func (n *Net) open() (names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		names = append(names, h.open()...)
	}
	return names
}

// nobody is the test of a network that has none.
type nobody struct{ testing.TB }

func (nobody) Helper() {}

func (nobody) Fatal(args ...any) { panic(args[0]) }

// fail says that the network was built or asked wrongly. Like all between it and
// who is to blame it is a Helper, so that the test's line is told.
func (n *Net) fail(err error) {
	n.t.Helper()
	n.t.Fatal(err)
	panic(err) // a T that went on
}

// check fails for an error; it must be called without the lock.
func (n *Net) check(err error) {
	if err != nil {
		n.t.Helper()
		n.fail(err)
	}
}

// locked runs f with the lock, and fails for its error.
func (n *Net) locked(f func() error) {
	n.t.Helper()
	n.check(func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		return f()
	}())
}

// now is the time since the network was made.
func (n *Net) now() time.Duration { return time.Since(n.start) }

// Segment adds a segment, for networks that have more than one.
func (n *Net) Segment(name string) *Segment {
	n.t.Helper()
	var s *Segment
	n.locked(func() error {
		if name == "" {
			return fmt.Errorf("udptest: a segment needs a name")
		}
		for _, other := range n.segments {
			if other.name == name {
				return fmt.Errorf("udptest: there is a segment %q already", name)
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

// lan is the segment of hosts that were not given another.
func (n *Net) lan() *Segment {
	for _, s := range n.segments {
		if s.name == "lan" {
			return s
		}
	}
	return n.segment("lan")
}

// Host adds a host with one interface, eth0, on the segment "lan", and the
// loopback interface that every host has. An address may have a prefix length
// ("10.0.0.1/24"), which says who is reached directly; without one that is every
// address of its family. The host's name resolves to its addresses, on every
// host.
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

// Host adds a host whose interface eth0 is on this segment; it is [Net.Host]
// otherwise.
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
	if !named(name) {
		return nil, fmt.Errorf("udptest: %q can't be a host's name", name)
	}
	if _, taken := n.names[name]; taken {
		return nil, fmt.Errorf("udptest: there is a host or a name %q already", name)
	}
	if name == "localhost" {
		return nil, fmt.Errorf("udptest: localhost is every host's name for itself")
	}
	h := newHost(n, name, uint64(len(n.hosts)+1))
	n.hosts = append(n.hosts, h)
	n.names[name] = nil
	return h, nil
}

// named says whether hosts and interfaces may have a name: what addresses and zones
// can't have in them is left out.
func named(name string) bool { return name != "" && !strings.ContainsAny(name, " \t\r\n:/%") }

func (s *Segment) has(h *Host) bool {
	return slices.ContainsFunc(s.ifaces, func(i *Interface) bool { return i.host == h })
}

// Name gives addresses a host name, as an entry of the DNS would.
func (n *Net) Name(name string, addrs ...string) {
	n.t.Helper()
	n.locked(func() error {
		if _, taken := n.names[name]; taken || name == "localhost" {
			return fmt.Errorf("udptest: there is a host or a name %q already", name)
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
		n.names[name] = as
		return nil
	})
}

// Path is what datagrams pass that go from one host to another, beside the links
// of both: its faults are for this pair in this direction. It begins where the
// sender's link ends, so the two must share a segment.
func (n *Net) Path(from, to *Host) *Pipe {
	n.t.Helper()
	var p *Pipe
	n.locked(func() error {
		if from == nil || to == nil || from.net != n || to.net != n {
			return fmt.Errorf("udptest: a path needs two hosts of this network")
		}
		if from == to {
			return fmt.Errorf("udptest: a path from %s to itself: that is its interface lo", from.name)
		}
		if !slices.ContainsFunc(n.segments, func(s *Segment) bool { return s.has(from) && s.has(to) }) {
			return fmt.Errorf("udptest: %s and %s share no segment", from.name, to.name)
		}
		key := [2]*Host{from, to}
		if p = n.paths[key]; p == nil {
			p = n.pipe(from.name + " -> " + to.name)
			p.faults, p.perfect = Faults{}, true // the defaults are those of links
			n.paths[key] = p
		}
		return nil
	})
	return p
}

// Partition divides the hosts: datagrams pass within a group and not between two
// of them. Hosts in no group are one more. It replaces an earlier partition.
func (n *Net) Partition(groups ...[]*Host) {
	n.t.Helper()
	n.locked(func() error {
		parts := make(map[*Host]int)
		for i, g := range groups {
			for _, h := range g {
				if h == nil || h.net != n {
					return fmt.Errorf("udptest: a partition needs hosts of this network")
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

// pipe makes one direction of something. Its number depends on its name only, so
// that other links do not change what its faults do.
func (n *Net) pipe(name string) *Pipe {
	h := fnv.New64a()
	h.Write([]byte(name))
	return &Pipe{net: n, name: name, id: h.Sum64(), perfect: n.cfg.Faults.none(), faults: n.cfg.Faults, free: never, left: never}
}
