package udptest

import (
	"fmt"
	"net/netip"
	"time"
)

// A NATConfig says how a router translates addresses, in the terms of RFC 4787.
type NATConfig struct {
	Mapping   NATKind       // which datagrams of one inside socket leave from one port
	Filtering NATKind       // who may answer to that port
	Timeout   time.Duration // of a mapping that is not used; 0 is 2 minutes, the RFC's least
	Inbound   bool          // what comes in keeps a mapping alive too, not only what goes out
	NewPorts  bool          // take another port even where the inside one is free
	Hairpin   bool          // inside hosts reach one another by their outside addresses
}

// NATKind is a kind of mapping or of filtering (RFC 4787, sections 4.1 and 5).
type NATKind int

// The kinds.
const (
	EndpointIndependent     NATKind = iota // the same for everybody outside ("full cone")
	AddressDependent                       // for each outside address
	AddressAndPortDependent                // for each outside address and port ("symmetric")
)

// String names the kind as RFC 4787 does.
func (k NATKind) String() string {
	switch k {
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case AddressAndPortDependent:
		return "address- and port-dependent"
	}
	return fmt.Sprintf("NATKind(%d)", int(k))
}

const natTimeout = 2 * time.Minute

type nat struct {
	NATConfig
	host    *Host
	outside *Interface
	addr    netip.Addr
	byIn    map[natKey]*mapping
	byPort  map[uint16]*mapping
	came    map[natKey]*mapping // by which one what a remote has sent came to an inside socket
}

type natKey struct{ inside, remote netip.AddrPort }

type mapping struct {
	key     natKey
	port    uint16
	used    time.Duration
	talksTo map[netip.AddrPort]bool
	came    []natKey // of the NAT's, those that may be of this one
}

// NAT makes a router translate the IPv4 source addresses of what leaves by an
// interface to that interface's address, and back.
func (h *Host) NAT(outside *Interface, cfg NATConfig) {
	h.net.t.Helper()
	h.net.locked(func() error {
		switch {
		case !h.forwards:
			return fmt.Errorf("udptest: %s is no router", h.name)
		case outside == nil || outside.host != h || outside == h.lo:
			return fmt.Errorf("udptest: %s: the outside of a NAT is an interface of its router", h.name)
		case cfg.Mapping < EndpointIndependent || cfg.Mapping > AddressAndPortDependent,
			cfg.Filtering < EndpointIndependent || cfg.Filtering > AddressAndPortDependent:
			return fmt.Errorf("udptest: %s: no such kind of NAT: %v, %v", h.name, cfg.Mapping, cfg.Filtering)
		case cfg.Timeout < 0:
			return fmt.Errorf("udptest: %s: the Timeout of a NAT is negative: %v", h.name, cfg.Timeout)
		}
		if cfg.Timeout == 0 {
			cfg.Timeout = natTimeout
		}
		addr := outside.source(netip.IPv4Unspecified())
		if !addr.IsValid() {
			return fmt.Errorf("udptest: %s: a NAT needs an IPv4 address outside", h.name)
		}
		h.nat = &nat{NATConfig: cfg, host: h, outside: outside, addr: addr}
		h.nat.forget()
		return nil
	})
}

// forget drops all mappings; it may be called without a NAT.
func (t *nat) forget() {
	if t != nil {
		t.byIn, t.byPort, t.came = make(map[natKey]*mapping), make(map[uint16]*mapping), make(map[natKey]*mapping)
	}
}

// part is as much of an outside address as a kind looks at.
func (k NATKind) part(a netip.AddrPort) netip.AddrPort {
	switch k {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}

// outward translates what is about to leave by r; false: it must not.
func (t *nat) outward(p *packet, r route, now time.Duration) bool {
	if r.iface != t.outside || !p.src.Addr().Is4() {
		return true
	}
	if p.refusal != nil {
		return t.refusesOutward(p, now)
	}
	m := t.open(p.src, p.dst, now)
	if m == nil {
		return false
	}
	p.src = netip.AddrPortFrom(t.addr, m.port)
	return true
}

// refusesOutward translates what an inside host says about a datagram that came by
// one of its mappings (RFC 5508, section 4.2): who has sent it knows that one only.
func (t *nat) refusesOutward(p *packet, now time.Duration) bool {
	told := *p.refusal
	if told.src, told.to = t.asked(told.src, told.to, now); told.to == p.refusal.to {
		return false
	}
	p.refusal, p.src = &told, netip.AddrPortFrom(t.addr, 0)
	return true
}

// asked is what a datagram was for its sender, before it was translated: from where,
// and to where. It may be called without a NAT.
func (t *nat) asked(src, dst netip.AddrPort, now time.Duration) (from, to netip.AddrPort) {
	if t == nil {
		return src, dst
	}
	from, to = src, dst
	if m := t.came[natKey{dst, src}]; m != nil && !t.expired(m, now) {
		to = netip.AddrPortFrom(t.addr, m.port)
	}
	if m := t.mapped(src, now); m != nil {
		from = m.key.inside
	}
	return from, to
}

// mapped is the mapping of an outside address and port, nil if there is none. It
// may be called without a NAT.
func (t *nat) mapped(a netip.AddrPort, now time.Duration) *mapping {
	if t == nil || a.Addr() != t.addr {
		return nil
	}
	if m := t.byPort[a.Port()]; m != nil && !t.expired(m, now) {
		return m
	}
	return nil
}

// open finds or makes the mapping for what an inside socket sends to a remote.
func (t *nat) open(inside, remote netip.AddrPort, now time.Duration) *mapping {
	k := natKey{inside, t.Mapping.part(remote)}
	m := t.byIn[k]
	if m == nil || t.expired(m, now) {
		port := t.port(k, now)
		if port == 0 {
			return nil
		}
		m = &mapping{key: k, port: port, talksTo: make(map[netip.AddrPort]bool)}
		t.byIn[k], t.byPort[port] = m, m
	}
	m.used = now
	m.talksTo[t.Filtering.part(remote)] = true
	return m
}

func (t *nat) expired(m *mapping, now time.Duration) bool {
	if now-m.used < t.Timeout {
		return false
	}
	delete(t.byIn, m.key)
	delete(t.byPort, m.port)
	for _, k := range m.came {
		if t.came[k] == m {
			delete(t.came, k)
		}
	}
	m.came = nil
	return true
}

// port chooses one that is free outside: the inside one, or one of the dynamic
// range.
func (t *nat) port(k natKey, now time.Duration) uint16 {
	free := func(port uint16) bool {
		m := t.byPort[port]
		return (m == nil || t.expired(m, now)) && len(t.host.ports.all[port]) == 0
	}
	if !t.NewPorts && free(k.inside.Port()) {
		return k.inside.Port()
	}
	const first, ports = 49152, 65536 - 49152 // RFC 6335
	at := mix(t.host.net.cfg.Seed, flow(k.inside, k.remote))
	for i := range uint64(ports) {
		if port := uint16(first + (at+i)%ports); port != k.inside.Port() && free(port) {
			return port
		}
	}
	return 0
}

// inward translates what has come to the outside address; false: it is filtered.
// What belongs to no mapping is the router's own.
func (t *nat) inward(p *packet, now time.Duration) bool {
	if p.dst.Addr() != t.addr {
		return true
	}
	to := p.dst
	if p.refusal != nil {
		to = p.refusal.src
	}
	m := t.mapped(to, now)
	if m == nil {
		return true
	}
	if p.refusal != nil {
		if p.iface != t.outside && !t.refusesOutward(p, now) { // a hairpin
			return false
		}
		told := *p.refusal
		told.src = m.key.inside
		p.refusal, p.dst = &told, netip.AddrPortFrom(m.key.inside.Addr(), 0)
		return true
	}
	if p.iface != t.outside {
		if !t.Hairpin {
			return false
		}
		own := t.open(p.src, p.dst, now)
		if own == nil {
			return false
		}
		p.src = netip.AddrPortFrom(t.addr, own.port)
	}
	if t.Filtering != EndpointIndependent && !m.talksTo[t.Filtering.part(p.src)] {
		return false
	}
	if t.Inbound {
		m.used = now
	}
	if k := (natKey{m.key.inside, p.src}); t.came[k] != m {
		t.came[k] = m
		m.came = append(m.came, k)
	}
	p.dst = m.key.inside
	return true
}
