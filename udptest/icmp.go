package udptest

import (
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// A refusal is what an ICMP message says about a datagram.
type refusal struct {
	typ, code uint8
	mtu       int
	src, to   netip.AddrPort // of the datagram it is about
}

// cause is why a datagram is refused, in both versions of ICMP (RFC 792,
// RFC 1812, RFC 4443), and what Linux makes of it (icmp_err_convert, icmpv6
// tab_unreach).
type cause struct {
	type4, code4 uint8
	err4         errno
	type6, code6 uint8
	err6         errno
}

var (
	noRoute         = cause{3, 0, eNETUNREACH, 1, 0, eNETUNREACH}
	hostUnreachable = cause{3, 1, eHOSTUNREACH, 1, 3, eHOSTUNREACH}
	portUnreachable = cause{3, 3, eCONNREFUSED, 1, 4, eCONNREFUSED}
	prohibited      = cause{3, 13, eHOSTUNREACH, 1, 1, eACCES}
	packetTooBig    = cause{3, 4, eMSGSIZE, 2, 0, eMSGSIZE}
	timeExceeded    = cause{11, 0, eHOSTUNREACH, 3, 0, eHOSTUNREACH}
)

var causes = []cause{noRoute, hostUnreachable, portUnreachable, prohibited, packetTooBig, timeExceeded}

// errOf is what Linux makes of a message.
func errOf(v4 bool, typ, code uint8) errno {
	for _, c := range causes {
		if v4 && c.type4 == typ && c.code4 == code {
			return c.err4
		}
		if !v4 && c.type6 == typ && c.code6 == code {
			return c.err6
		}
	}
	return eHOSTUNREACH
}

// How much of a datagram's payload an ICMP message quotes: it is at most 576
// bytes long for IPv4 (RFC 1812, section 4.3.2.3) and 1280 for IPv6.
const (
	quote4 = 576 - header4 - 8 - header4 - headerUDP
	quote6 = 1280 - header6 - 8 - header6 - headerUDP
)

// How many ICMP messages a host sends to one address: so many at once, and then
// one a second (Linux: XRLIM_BURST_FACTOR, net.ipv4.icmp_ratelimit). What stays
// on the host is not limited, nor is "too big".
const (
	icmpBurst = 6
	icmpEvery = time.Second
)

type limit struct {
	tokens time.Duration
	last   time.Duration
}

// allowed takes a token for a message to an address.
func (h *Host) allowed(to netip.Addr, now time.Duration) bool {
	if h.limits == nil {
		h.limits = make(map[netip.Addr]*limit)
	}
	l := h.limits[to]
	if l == nil {
		l = &limit{tokens: icmpBurst * icmpEvery, last: now}
		h.limits[to] = l
	}
	l.tokens = min(l.tokens+now-l.last, icmpBurst*icmpEvery)
	l.last = now
	if l.tokens < icmpEvery {
		return false
	}
	l.tokens -= icmpEvery
	return true
}

// answer sends an ICMP message about p to where it came from. Nothing is said
// about ICMP messages, groups and broadcasts (RFC 1122, section 3.2.2).
func (h *Host) answer(p *packet, c cause, mtu int, now time.Duration) {
	n := h.net
	src, dst := h.nat.asked(p.src, p.dst, now)
	if p.refusal != nil || dst.Addr().IsMulticast() || h.isBroadcast(dst.Addr()) || h.down {
		return
	}
	if h.owns(src.Addr()) {
		// A datagram of its own that did not get away.
	} else if c != packetTooBig && !h.allowed(src.Addr(), now) {
		n.note(now, h.name, "rate-limited", p)
		return
	}
	r, e := h.route(src.Addr(), p.iface.scope(src.Addr()), netip.Addr{})
	if e != none {
		return
	}
	v4 := src.Addr().Is4()
	quote, typ, code := quote6, c.type6, c.code6
	if v4 {
		quote, typ, code = quote4, c.type4, c.code4
	}
	a := n.newPacket(p.data[:min(len(p.data), quote)])
	offender := r.src
	if h.owns(dst.Addr()) {
		offender = dst.Addr() // who was asked answers
	}
	a.src, a.dst = netip.AddrPortFrom(offender, 0), netip.AddrPortFrom(src.Addr(), 0)
	a.ttl = defaultTTL
	a.refusal = &refusal{typ: typ, code: code, mtu: mtu, src: src, to: dst}
	a.key = p.key
	a.key.copy = mix(p.key.copy, h.id)
	n.leave(a, r, now)
}

// scope is the interface that a link-local address belongs to.
func (i *Interface) scope(a netip.Addr) int {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return i.index
	}
	return 0
}

// tooBig refuses a datagram longer than an MTU in the name of a host.
func (n *Net) tooBig(p *packet, h *Host, mtu int, now time.Duration) {
	h.answer(p, packetTooBig, mtu, now)
}

// refused brings an ICMP message to the socket that has sent what it is about.
func (h *Host) refused(p *packet, now time.Duration) {
	r := p.refusal
	if r.mtu > 0 {
		h.learnMTU(r.to.Addr(), r.mtu, now)
	}
	s := h.sender(r)
	if s == nil || !s.peer.IsValid() && !s.opts.PeerErrors {
		h.net.note(now, h.name, "nobody asked", p)
		return
	}
	h.net.note(now, h.name, "refused", p)
	peer := r.to
	if s.peer.IsValid() {
		peer = s.peer // with its zone
	}
	err := errOf(r.to.Addr().Is4(), r.typ, r.code)
	s.report(socket.Report{
		Peer: peer, Offender: p.src.Addr(), Type: r.typ, Code: r.code, MTU: r.mtu,
		Payload: append([]byte(nil), p.data...), Err: err,
	}, err)
	h.net.events.wake(s)
}

// sender finds the socket by which a datagram has left.
func (h *Host) sender(r *refusal) *sock { return h.lookup(r.src, r.to) }
