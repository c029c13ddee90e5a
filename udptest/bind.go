package udptest

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/udpkit/udp/internal/socket"
)

// ErrorPending implements socket.Socket.
func (s *sock) ErrorPending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending != none || len(s.reports) > 0
}

// LostReports implements socket.Socket.
func (s *sock) LostReports() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lostReports
}

// Zone implements socket.Socket.
func (s *sock) Zone(zone string) (string, bool) {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.host.byZone(zone) != nil {
		return zone, true
	}
	index, err := strconv.Atoi(zone)
	for _, i := range s.host.ifaces {
		if err == nil && i.index == index {
			return i.name, true
		}
	}
	return zone, false
}

// Local implements socket.Socket.
func (s *sock) Local() netip.AddrPort {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	return netip.AddrPortFrom(s.local, s.port)
}

// Connect implements socket.Socket.
func (s *sock) Connect(peer netip.AddrPort) (netip.AddrPort, error) {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.isClosed() {
		return peer, net.ErrClosed
	}
	to := peer.Addr()
	if to.IsUnspecified() {
		to = loopback(to.Is4())
	}
	r, e := s.host.route(to, s.outFor(to), s.bound)
	if e != none {
		return peer, sysErr("connect", e)
	}
	if (r.all || s.host.isBroadcast(to)) && !to.IsMulticast() && !s.opts.Broadcast {
		return peer, sysErr("connect", eACCES)
	}
	s.peer = netip.AddrPortFrom(to, peer.Port())
	if s.bound.IsUnspecified() {
		s.local = r.src
		if to.Is6() && to.Zone() != "" && r.src.IsLinkLocalUnicast() {
			s.local = r.src.WithZone(to.Zone())
		}
	}
	return s.peer, nil
}

// Disconnect implements socket.Socket.
func (s *sock) Disconnect() error {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.isClosed() {
		return net.ErrClosed
	}
	s.peer = netip.AddrPort{}
	if s.bound.IsUnspecified() {
		s.local = s.bound
	}
	return nil
}

func (s *sock) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// bind binds the socket to an address and a port. The caller holds the network's lock.
func (s *sock) bind(addr netip.Addr, port uint16) error {
	h := s.host
	bare := addr.WithZone("")
	if !addr.IsUnspecified() && !addr.IsMulticast() && !h.isBroadcast(bare) && !h.owns(bare) {
		return sysErr("bind", eADDRNOTAVAIL)
	}
	if addr.IsLinkLocalUnicast() && addr.Is6() && addr.Zone() == "" {
		return sysErr("bind", eINVAL)
	}
	s.bound, s.local = bare, addr
	if s.mapped(port) {
		return sysErr("bind", eADDRINUSE)
	}
	if port == 0 {
		if port = h.freePort(s); port == 0 {
			return sysErr("bind", eADDRINUSE)
		}
	}
	for _, o := range h.ports.of(port) {
		if s.conflicts(o) {
			return sysErr("bind", eADDRINUSE)
		}
	}
	s.port = port
	h.ports.set(port, append(h.ports.of(port), s))
	return nil
}

// mapped reports whether the host's NAT has assigned a port that s asks for to an inside socket.
func (s *sock) mapped(port uint16) bool {
	t := s.host.nat
	if t == nil || s.family == socket.IPv6 || !s.bound.IsUnspecified() && s.bound != t.addr {
		return false
	}
	return t.mapped(netip.AddrPortFrom(t.addr, port), s.host.net.now()) != nil
}

// conflicts reports whether s and o cannot be bound to one port.
func (s *sock) conflicts(o *sock) bool {
	switch {
	case s.family&o.family == 0:
		return false
	case s.bound != o.bound && !s.bound.IsUnspecified() && !o.bound.IsUnspecified():
		return false
	}
	return !(s.opts.ReuseAddr && o.opts.ReuseAddr || s.opts.ReusePort && o.opts.ReusePort)
}

// release frees the port. The caller holds the network's lock.
func (s *sock) release() {
	if s.released {
		return
	}
	s.released = true
	h := s.host
	h.ports.set(s.port, slices.DeleteFunc(h.ports.of(s.port), func(o *sock) bool { return o == s }))
}

// ports are the sockets by port, in the order of binding. It caches the last port that was
// looked up, which is the only one on most hosts.
type ports struct {
	all    map[uint16][]*sock
	recent uint16
	socks  []*sock // of recent; nil: not cached
}

func (p *ports) of(port uint16) []*sock {
	if p.socks == nil || p.recent != port {
		p.recent, p.socks = port, p.all[port]
	}
	return p.socks
}

func (p *ports) set(port uint16, socks []*sock) {
	if p.socks = nil; len(socks) == 0 {
		delete(p.all, port)
	} else {
		p.all[port] = socks
	}
}

func (p *ports) clear() {
	clear(p.all)
	p.socks = nil
}

// The ephemeral ports of Linux (net.ipv4.ip_local_port_range).
const (
	firstPort = 32768
	lastPort  = 60999
)

// freePort returns a free ephemeral port, or 0. The search starts at a random port.
func (h *Host) freePort(s *sock) uint16 {
	const ports = lastPort - firstPort + 1
	at := mix(mix(h.net.cfg.Seed, h.id), s.id+drawPort)
	for i := range uint64(ports) {
		port := uint16(firstPort + (at+i)%ports)
		if len(h.ports.all[port]) == 0 && !s.mapped(port) {
			return port
		}
	}
	return 0
}

func sysErr(call string, e errno) error { return os.NewSyscallError(call, e) }

func loopback(v4 bool) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}
