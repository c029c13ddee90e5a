package udptest

import (
	"fmt"
	"net/netip"
	"time"
)

// Router adds a host that forwards datagrams between its interfaces, which [Host.Attach] adds.
// It decrements the TTL, and sends an ICMP error when the TTL is exhausted or when it has no
// route. It forwards multicast datagrams only after [Host.ForwardMulticast]. Hosts use it
// after [Host.SetGateway].
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

// ForwardMulticast makes a router forward multicast datagrams to all of its other interfaces,
// as far as their TTL allows. It never forwards datagrams to link-local groups.
func (h *Host) ForwardMulticast() {
	h.net.t.Helper()
	h.net.locked(func() error {
		if !h.forwards {
			return fmt.Errorf("udptest: %s is not a router", h.name)
		}
		h.multicasts = true
		return nil
	})
}

// A Filter decides about each datagram that a host receives or forwards, except for ICMP
// messages. It is called with locks held, so it must not use the network.
type Filter func(p Packet) Action

// An Action is the decision of a Filter.
type Action int

// The actions.
const (
	Accept   Action = iota
	Drop            // drop the datagram without an ICMP error
	Prohibit        // drop it with an ICMP error: communication administratively prohibited
)

// SetFilter sets the host's firewall; nil removes it.
func (h *Host) SetFilter(f Filter) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.filter = f
}

// accepts reports whether the filter accepts p.
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

// forward forwards a packet or drops it.
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
	if p.unit > r.iface.mtu {
		n.note(now, h.name, "too big", p)
		n.tooBig(p, h, r.iface.mtu, now)
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

// forwardToGroups forwards copies to the other interfaces.
func (h *Host) forwardToGroups(p *packet, now time.Duration) {
	dst := p.dst.Addr()
	if p.ttl <= 1 || dst.IsLinkLocalMulticast() || dst.IsInterfaceLocalMulticast() {
		return
	}
	for _, i := range h.ifaces[1:] {
		if i == p.iface || i.down || p.unit > i.mtu || !i.source(dst).IsValid() {
			continue
		}
		c := h.net.clone(p, i.out.id)
		c.ttl--
		h.net.leave(c, route{iface: i, all: true}, now)
	}
}
