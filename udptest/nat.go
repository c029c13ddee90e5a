package udptest

import (
	"fmt"
	"net/netip"
	"time"
)

// A NATConfig configures the address translation of a router, in the terms of RFC 4787.
type NATConfig struct {
	Mapping   NATKind       // the destinations for which an inside socket keeps one outside port
	Filtering NATKind       // the sources from which that port accepts datagrams
	Timeout   time.Duration // after which an unused mapping ends; 0: 2 minutes, the RFC's minimum
	Inbound   bool          // inbound datagrams refresh a mapping, not only outbound ones
	NewPorts  bool          // choose another outside port even if the inside port is free
	Hairpin   bool          // inside hosts reach each other by their outside addresses
}

// NATKind is the behavior of a mapping or of filtering (RFC 4787, sections 4.1 and 5).
type NATKind int

// The kinds.
const (
	EndpointIndependent     NATKind = iota // the same for all outside endpoints ("full cone")
	AddressDependent                       // per outside address
	AddressAndPortDependent                // per outside address and port ("symmetric")
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
	came    map[natKey]*mapping // by which mapping a remote reached an inside socket
}

type natKey struct{ inside, remote netip.AddrPort }

type mapping struct {
	key     natKey
	port    uint16
	used    time.Duration
	talksTo map[netip.AddrPort]bool
	came    []natKey // keys of nat.came that may be of this mapping
}

// SetNAT makes a router translate the IPv4 source addresses of datagrams that leave by an
// interface to the address of that interface, and back. It forgets earlier mappings.
func (h *Host) SetNAT(outside *Interface, cfg NATConfig) {
	h.net.t.Helper()
	h.net.locked(func() error {
		switch {
		case !h.forwards:
			return fmt.Errorf("udptest: %s is not a router", h.name)
		case outside == nil || outside.host != h || outside == h.lo:
			return fmt.Errorf("udptest: %s: the outside of a NAT must be an interface of its router", h.name)
		case cfg.Mapping < EndpointIndependent || cfg.Mapping > AddressAndPortDependent,
			cfg.Filtering < EndpointIndependent || cfg.Filtering > AddressAndPortDependent:
			return fmt.Errorf("udptest: %s: invalid NATKind: %v, %v", h.name, cfg.Mapping, cfg.Filtering)
		case cfg.Timeout < 0:
			return fmt.Errorf("udptest: %s: NATConfig.Timeout is negative: %v", h.name, cfg.Timeout)
		}
		if cfg.Timeout == 0 {
			cfg.Timeout = natTimeout
		}
		addr := outside.source(netip.IPv4Unspecified())
		if !addr.IsValid() {
			return fmt.Errorf("udptest: %s: a NAT needs an IPv4 address on its outside interface", h.name)
		}
		h.nat = &nat{NATConfig: cfg, host: h, outside: outside, addr: addr}
		h.nat.forget()
		return nil
	})
}

// forget removes all mappings. t may be nil.
func (t *nat) forget() {
	if t != nil {
		t.byIn, t.byPort, t.came = make(map[natKey]*mapping), make(map[uint16]*mapping), make(map[natKey]*mapping)
	}
}

// part returns the part of an outside address that a NATKind depends on.
func (k NATKind) part(a netip.AddrPort) netip.AddrPort {
	switch k {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}

// outward translates a packet that is about to leave by r. It returns false for a packet that
// must not leave.
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

// refusesOutward translates an ICMP error of an inside host about a datagram that came by one
// of its mappings (RFC 5508, section 4.2): its sender knows only the outside address.
func (t *nat) refusesOutward(p *packet, now time.Duration) bool {
	translated := *p.refusal
	if translated.src, translated.to = t.asked(translated.src, translated.to, now); translated.to == p.refusal.to {
		return false
	}
	p.refusal, p.src = &translated, netip.AddrPortFrom(t.addr, 0)
	return true
}

// asked returns the source and destination of a datagram as its sender knows them, before
// translation. t may be nil.
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

// mapped returns the mapping of an outside address and port, or nil. t may be nil.
func (t *nat) mapped(a netip.AddrPort, now time.Duration) *mapping {
	if t == nil || a.Addr() != t.addr {
		return nil
	}
	if m := t.byPort[a.Port()]; m != nil && !t.expired(m, now) {
		return m
	}
	return nil
}

// open returns the mapping for datagrams from an inside socket to a remote, and creates it if
// needed.
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

// port chooses a free outside port: the inside one, or one of the dynamic range.
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

// inward translates a packet to the outside address. It returns false for a packet that is
// filtered. A packet of no mapping is for the router itself.
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
		translated := *p.refusal
		translated.src = m.key.inside
		p.refusal, p.dst = &translated, netip.AddrPortFrom(m.key.inside.Addr(), 0)
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
