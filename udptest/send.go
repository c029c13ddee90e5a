package udptest

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

const defaultTTL = 64 // net.ipv4.ip_default_ttl

// Send implements socket.Socket.
func (s *sock) Send(m socket.Message) error { return s.send(m, true) }

func (s *sock) send(m socket.Message, waits bool) error {
	n := s.host.net
	if err := s.host.inject(opSend, s.port); err != nil {
		return err
	}
	for {
		n.mu.Lock()
		wait, err := s.try(m, waits, n.now())
		var changes <-chan struct{}
		if wait > 0 && waits {
			changes = s.changes()
		}
		n.mu.Unlock()
		switch {
		case wait == 0:
			return err
		case !waits:
			return sysErr("sendmsg", eAGAIN)
		}
		s.await(wait, changes)
	}
}

// SendBatch implements socket.Socket.
func (s *sock) SendBatch(ms []socket.Message, wait bool) (int, error) {
	for i := range ms {
		if err := s.send(ms[i], wait); err != nil {
			return i, err
		}
	}
	return len(ms), nil
}

// try sends a datagram, or returns how long it takes until there is room.
func (s *sock) try(m socket.Message, waits bool, now time.Duration) (wait time.Duration, err error) {
	h := s.host
	dead, err := s.mayWrite(waits)
	if err != nil {
		return 0, err
	}
	if dead || h.down {
		return 0, nil // a program of a crashed host gets no error
	}
	if h.paused.Load() {
		return longest, nil
	}
	to := m.To
	if !to.IsValid() {
		if to = s.peer; !to.IsValid() {
			return 0, sysErr("send", eDESTADDRREQ)
		}
	}
	if h.recorder != nil {
		h.recorder.record(m, to)
		return 0, nil
	}
	dst := to.Addr()
	if dst.IsUnspecified() {
		dst = loopback(dst.Is4())
	}
	if len(m.Control) > 0 {
		return 0, errors.Join(errors.New("udptest: control messages of a simulated socket"), errors.ErrUnsupported)
	}
	src, index := m.From, m.IfIndex
	if src.IsValid() {
		if zone := src.Zone(); zone != "" && index == 0 {
			i := h.byZone(zone)
			if i == nil {
				return 0, sysErr("sendmsg", eNODEV)
			}
			index = i.index
		}
		if src = src.WithZone(""); !src.IsUnspecified() && !h.owns(src) {
			return 0, sysErr("sendmsg", eINVAL)
		}
	}
	if (!src.IsValid() || src.IsUnspecified()) && !s.local.IsUnspecified() && !s.local.IsMulticast() {
		src = s.local.WithZone("")
	}
	if index == 0 {
		index = s.outFor(dst)
	}
	r, e := h.route(dst, index, src)
	if e != none {
		return 0, sysErr("sendto", e)
	}
	dst = dst.WithZone("")
	if r.all && !dst.IsMulticast() && !s.opts.Broadcast {
		return 0, sysErr("sendto", eACCES)
	}
	size, unit := len(m.Data)+headers(dst), h.pathMTU(r.iface, dst, now)
	mode := s.opts.MTUDiscovery
	if mode == socket.MTUProbe || mode == socket.MTUOmit {
		unit = r.iface.mtu
	}
	if (mode == socket.MTUDo || mode == socket.MTUProbe) && size > unit {
		return 0, sysErr("sendto", eMSGSIZE)
	}
	if r.iface.out.faults.Rate > 0 {
		if wait := s.full(now); wait > 0 {
			return wait, nil
		}
	}
	if !src.IsValid() || src.IsUnspecified() {
		src = r.src
	}
	p := h.net.newPacket(m.Data)
	p.src, p.dst = netip.AddrPortFrom(src, s.port), netip.AddrPortFrom(dst, to.Port())
	p.ttl, p.class = cmp.Or(m.TTL, s.opts.TTL, defaultTTL), cmp.Or(m.TrafficClass, s.opts.TrafficClass)
	if m.ECN != 0 {
		p.class = p.class&^3 | m.ECN&3
	}
	p.unit = min(size, unit)
	p.key = key{origin: s.id, seq: s.sent, order: h.sent}
	s.sent++
	h.sent++
	if r.all && !s.toAll(p, m.TTL, r, now) {
		return 0, nil
	}
	if h.net.leave(p, r, now) && r.iface.out.faults.Rate > 0 {
		s.leaving = append(s.leaving, leaving{&r.iface.out, r.iface.out.left, len(m.Data)})
	}
	return 0, nil
}

// learned is a path MTU from an ICMP message.
type learned struct {
	mtu   int
	until time.Duration
}

// mtuExpires is net.ipv4.route.mtu_expires.
const mtuExpires = 10 * time.Minute

// pathMTU returns the MTU of the path to an address, as far as the host knows it.
func (h *Host) pathMTU(i *Interface, to netip.Addr, now time.Duration) int {
	if len(h.mtus) > 0 {
		if l, ok := h.mtus[to]; ok && now < l.until {
			return min(l.mtu, i.mtu)
		}
	}
	return i.mtu
}

func (h *Host) learnMTU(to netip.Addr, mtu int, now time.Duration) {
	if h.mtus == nil {
		h.mtus = make(map[netip.Addr]learned)
	}
	h.mtus[to] = learned{mtu, now + mtuExpires}
}

// MTU implements socket.Socket.
func (s *sock) MTU(to netip.AddrPort) int {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if !to.IsValid() {
		to = s.peer
	}
	r, e := s.host.route(to.Addr(), s.outFor(to.Addr()), s.bound)
	if e != none || !to.IsValid() {
		return 0
	}
	return s.host.pathMTU(r.iface, to.Addr().WithZone(""), n.now())
}

// mayWrite returns the error of a send, and whether the host has crashed. The error of an older
// datagram is returned once, as on Linux (sock_error), unless the reader has taken it. Only a
// send that waits has a deadline.
func (s *sock) mayWrite(waits bool) (dead bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return false, net.ErrClosed
	case waits && !s.deadline.IsZero() && !time.Now().Before(s.deadline):
		return false, os.ErrDeadlineExceeded
	case s.pending != none:
		err, s.pending = sysErr("sendmsg", s.pending), none
		return false, err
	}
	return s.dead, nil
}

// full returns how long it takes until the write buffer has room for another datagram, 0 if it
// has. Like Linux, it allows one datagram beyond the limit.
func (s *sock) full(now time.Duration) (wait time.Duration) {
	used, first := 0, longest
	rest := s.leaving[:0]
	for _, l := range s.leaving {
		if l.at > now {
			rest = append(rest, l)
			used += l.bytes + overhead
			first = min(first, l.at) // links of different rates are not in order
		}
	}
	s.leaving = rest
	if used < 2*s.opts.WriteBuffer {
		return 0
	}
	return first - now
}

// await waits for room, the deadline, Close, or a change of the network.
func (s *sock) await(room time.Duration, changes <-chan struct{}) {
	s.mu.Lock()
	deadline := s.deadline
	s.mu.Unlock()
	if !deadline.IsZero() {
		room = min(room, time.Until(deadline))
	}
	t := time.NewTimer(max(room, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-changes:
	}
}

// outFor returns the index of the interface that is set for multicast, or 0.
func (s *sock) outFor(to netip.Addr) int {
	if !to.IsMulticast() {
		return 0
	}
	return s.out[family(to)]
}

// family returns the index for state that a socket has per family.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// leave makes p pass the link of a route's interface, and reports whether it did.
func (n *Net) leave(p *packet, r route, now time.Duration) (passed bool) {
	p.iface, p.from, p.hop = r.iface, r.iface, r.hop
	n.note(now, r.iface.out.name, "sent", p)
	if r.iface == r.iface.host.lo {
		return n.through(&r.iface.out, p, now, atLink, LinkTime)
	}
	return n.through(&r.iface.out, p, now, onSegment, LinkTime)
}

// through makes p pass a pipe and continue at the next stage. It takes that long in addition to
// the delays of the faults.
func (n *Net) through(q *Pipe, p *packet, now time.Duration, next stage, takes time.Duration) (passed bool) {
	to := q.pass(p, now)
	if to.why != "" {
		n.note(now, q.name, to.why, p)
		if to.why == "too big" && !q.faults.BlackHole {
			n.tooBig(p, p.iface.host, q.faults.MTU, now)
		}
		n.free(p)
		return false
	}
	if next == onSegment {
		p.left = now + to.waits
	}
	p.by, p.stage = q, next
	if to.again {
		c := n.clone(p, q.id)
		n.note(now, q.name, "duplicated", c)
		n.schedule(c, now, to.later+takes)
	}
	if d := to.delay + takes; d > 0 {
		n.schedule(p, now, d)
	} else {
		n.step(p, now)
	}
	return true
}

// step moves a packet on from its stage.
func (n *Net) step(p *packet, now time.Duration) {
	if p.gone {
		n.note(now, p.from.out.name, "gone", p)
		n.free(p)
		return
	}
	if q := p.by; q != nil {
		p.by = nil
		for _, t := range q.arrivals {
			t.see(p, now, "")
		}
	}
	switch p.stage {
	case onSegment, unresolved:
		n.cross(p, now)
	case atLink:
		n.through(&p.iface.in, p, now, atHost, 0)
	case atHost:
		p.iface.host.receive(p, now)
	}
}

// cross moves a packet from one interface of a segment to others.
func (n *Net) cross(p *packet, now time.Duration) {
	from, seg := p.iface, p.iface.seg
	if p.hop.IsValid() {
		to := seg.byAddr[p.hop]
		if to == nil {
			n.look(p, now)
			return
		}
		if p.stage == unresolved {
			delete(from.host.looking, p.hop)
		}
		n.enter(p, from, to, now)
		return
	}
	for _, to := range seg.ifaces {
		if to != from && to.wants(p.dst.Addr()) {
			n.enter(n.clone(p, to.in.id), from, to, now)
		}
	}
	n.free(p)
}

// enter makes a packet pass the path between two hosts and the link to the second.
func (n *Net) enter(p *packet, from, to *Interface, now time.Duration) {
	p.iface = to
	if len(n.parts) > 0 && n.parts[from.host] != n.parts[to.host] {
		to.in.block(p, now, "partition")
		n.note(now, to.in.name, "partition", p)
		n.free(p)
		return
	}
	if p.unit > to.mtu {
		to.in.tooLong(p, now)
		n.note(now, to.in.name, "too big", p)
		n.free(p)
		return
	}
	if len(n.paths) > 0 {
		if path := n.paths[[2]*Host{from.host, to.host}]; path != nil {
			n.through(path, p, now, atLink, 0)
			return
		}
	}
	n.through(&to.in, p, now, atHost, 0)
}
