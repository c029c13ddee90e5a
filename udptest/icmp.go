package udptest

import (
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// A refusal is an ICMP error about a datagram.
type refusal struct {
	typ, code uint8
	mtu       int
	src, to   netip.AddrPort // of the datagram it is about
}

// A cause is an ICMP error in both versions of ICMP (RFC 792, RFC 1812, RFC 4443), with the
// error number that Linux translates it into (icmp_err_convert, tab_unreach).
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

// message returns the type and code of a cause.
func (c cause) message(v4 bool) (typ, code uint8) {
	if v4 {
		return c.type4, c.code4
	}
	return c.type6, c.code6
}

// errOf returns the error number that Linux translates an ICMP error into.
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

// The bytes of a datagram's payload that an ICMP error quotes. The message has at most 576
// bytes for IPv4 (RFC 1812, section 4.3.2.3) and 1280 for IPv6.
const (
	quote4 = 576 - header4 - 8 - header4 - headerUDP
	quote6 = 1280 - header6 - 8 - header6 - headerUDP
)

// The rate of ICMP errors to one address: a burst, and then one per second, as on Linux
// (XRLIM_BURST_FACTOR, net.ipv4.icmp_ratelimit). Neither "too big" nor messages that stay on
// the host are limited.
const (
	icmpBurst = 6
	icmpEvery = time.Second
)

type limit struct {
	tokens time.Duration
	last   time.Duration
}

// allowed reports whether the rate limit allows another message to an address.
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

// answer sends an ICMP error about p to its source. There are none about ICMP messages,
// multicast and broadcast datagrams (RFC 1122, section 3.2.2).
func (h *Host) answer(p *packet, c cause, mtu int, now time.Duration) {
	n := h.net
	src, dst := h.nat.asked(p.src, p.dst, now)
	if p.refusal != nil || dst.Addr().IsMulticast() || h.isBroadcast(dst.Addr()) || h.down {
		return
	}
	if h.owns(src.Addr()) {
		// The datagram of this host did not leave it.
	} else if c != packetTooBig && !h.allowed(src.Addr(), now) {
		n.note(now, h.name, "rate-limited", p)
		return
	}
	r, e := h.route(src.Addr(), p.iface.scope(src.Addr()), netip.Addr{})
	if e != none {
		return
	}
	v4 := src.Addr().Is4()
	quote := quote6
	if v4 {
		quote = quote4
	}
	typ, code := c.message(v4)
	a := n.newPacket(p.data[:min(len(p.data), quote)])
	offender := r.src
	if h.owns(dst.Addr()) {
		offender = dst.Addr() // the address that the datagram was sent to
	}
	a.src, a.dst = netip.AddrPortFrom(offender, 0), netip.AddrPortFrom(src.Addr(), 0)
	a.ttl = defaultTTL
	a.refusal = &refusal{typ: typ, code: code, mtu: mtu, src: src, to: dst}
	a.key = p.key
	a.key.copy = mix(p.key.copy, h.id)
	n.leave(a, r, now)
}

// scope returns the index of the interface for a link-local address.
func (i *Interface) scope(a netip.Addr) int {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return i.index
	}
	return 0
}

// tooBig makes a host send the ICMP error about a packet longer than an MTU.
func (n *Net) tooBig(p *packet, h *Host, mtu int, now time.Duration) {
	h.answer(p, packetTooBig, mtu, now)
}

// refused delivers an ICMP error to the socket that has sent the datagram.
func (h *Host) refused(p *packet, now time.Duration) {
	r := p.refusal
	if r.mtu > 0 {
		h.learnMTU(r.to.Addr(), r.mtu, now)
	}
	s := h.sender(r)
	if s == nil || !s.peer.IsValid() && !s.opts.PeerErrors {
		h.net.note(now, h.name, "no sender", p)
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

// sender returns the socket that has sent the datagram, as far as its addresses say.
func (h *Host) sender(r *refusal) *sock { return h.lookup(r.src, r.to) }
