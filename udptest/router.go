package udptest

import (
	"fmt"
	"net/netip"
	"time"
)

// Router adds a host without interfaces that forwards datagrams between those it
// is given with [Host.Attach]. It lowers the TTL, says when that has run out or
// when it knows no way, and does not forward multicast unless
// [Host.ForwardMulticast] was called. Hosts reach it with [Host.Gateway].
func (n *Net) Router(name string) *Host {
	n.t.Helper()
	var h *Host
	n.locked(func() (err error) {
		if h, err = n.host(name); err == nil {
			h.forwards = true
		}
		return err
	})
	return h
}

// ForwardMulticast makes a router forward what is sent to groups, to all of its
// other interfaces, when its TTL allows it; groups of the link only stay there.
func (h *Host) ForwardMulticast() {
	h.net.t.Helper()
	h.net.locked(func() error {
		if !h.forwards {
			return fmt.Errorf("udptest: %s is no router", h.name)
		}
		h.multicasts = true
		return nil
	})
}

// A Filter decides about datagrams that a host gets or forwards, ICMP messages
// not included. It is called with locks held, so it must not use the network.
type Filter func(p Packet) Verdict

// Verdict is a Filter's answer.
type Verdict int

// The verdicts.
const (
	Accept   Verdict = iota
	Drop             // in silence
	Prohibit         // with an ICMP message: communication administratively prohibited
)

// Filter sets the host's firewall; nil is none.
func (h *Host) Filter(f Filter) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.filter = f
}

// accepts asks the filter.
func (h *Host) accepts(p *packet, now time.Duration) bool {
	if h.filter == nil || p.refusal != nil {
		return true
	}
	switch h.filter(p.public()) {
	case Drop:
		h.net.note(now, h.name, "dropped", p)
	case Prohibit:
		h.net.note(now, h.name, "prohibited", p)
		h.answer(p, prohibited, 0, now)
	default:
		return true
	}
	return false
}

// forward sends a packet on, or gives it up.
func (h *Host) forward(p *packet, now time.Duration) {
	n := h.net
	if p.ttl <= 1 {
		n.note(now, h.name, "TTL exceeded", p)
		h.answer(p, timeExceeded, 0, now)
		n.free(p)
		return
	}
	r, e := h.route(p.dst.Addr(), 0, netip.Addr{})
	if e != none || r.iface == h.lo || r.all || p.src.Addr().IsLinkLocalUnicast() {
		n.note(now, h.name, "no route", p)
		h.answer(p, noRoute, 0, now)
		n.free(p)
		return
	}
	p.ttl--
	if h.nat != nil && !h.nat.outward(p, r, now) {
		n.note(now, h.name, "filtered", p)
		n.free(p)
		return
	}
	n.leave(p, r, now)
}

// forwardToGroups sends copies to the other interfaces.
func (h *Host) forwardToGroups(p *packet, now time.Duration) {
	dst := p.dst.Addr()
	if p.ttl <= 1 || dst.IsLinkLocalMulticast() || dst.IsInterfaceLocalMulticast() {
		return
	}
	for _, i := range h.ifaces[1:] {
		if i == p.iface || i.down || !i.source(dst).IsValid() {
			continue
		}
		c := h.net.clone(p, i.out.id)
		c.ttl--
		h.net.leave(c, route{iface: i, all: true}, now)
	}
}
