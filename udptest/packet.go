package udptest

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/buffer"
)

// A Packet is a datagram or an ICMP message in flight, as a [Script] or a [Filter] sees it.
// Data must not be kept or changed.
type Packet struct {
	From, To     netip.AddrPort // source and destination
	Data         []byte         // of UDP, or quoted by ICMP
	TTL          int            // or hop limit
	TrafficClass uint8          // DSCP and ECN
	ICMP         bool           // an ICMP error from From about a datagram of To, which Data quotes
}

// packet is a datagram in flight, or an ICMP message about one.
type packet struct {
	src, dst netip.AddrPort // without zones
	data     []byte         // lies in buf
	buf      *buffer.Buffer
	ttl      uint8
	class    uint8    // traffic class: DSCP and ECN
	refusal  *refusal // content of an ICMP message
	key      key
	unit     int // length of its longest fragment, IP header included

	stage stage
	iface *Interface    // it left by, or arrives at: see stage
	from  *Interface    // it left by last
	hop   netip.Addr    // next hop on the segment; invalid: all
	until time.Duration // when neighbor discovery for hop ends
	by    *Pipe         // that it is in, or has just passed
	left  time.Duration // when its last bit leaves the host
	gone  bool          // lost with its host or interface before that
	next  *packet       // in the list of spare packets
}

// A stage is where a packet is.
type stage uint8

const (
	onSegment  stage = iota // it has passed the link from iface to the segment
	atLink                  // it is before the link to iface
	atHost                  // it has passed that one
	unresolved              // it waits before the segment for neighbor discovery of hop
)

// A key identifies a datagram. It determines its random decisions and, with order, its place
// among the datagrams that arrive at the same instant.
type key struct {
	origin uint64 // the socket and, in the upper half, its host
	seq    uint64 // number of datagrams that the socket has sent before
	copy   uint64 // 0, or which duplicate, copy to a group member or ICMP message it is
	order  uint64 // number of datagrams that the host has sent before
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.origin>>32, o.origin>>32), cmp.Compare(k.order, o.order), cmp.Compare(k.copy, o.copy))
}

// Lengths of headers: IPv4 (RFC 791) and IPv6 (RFC 8200) without options, UDP.
const (
	header4   = 20
	header6   = 40
	headerUDP = 8
)

// headers returns the length of the headers of a datagram.
func headers(to netip.Addr) int {
	if to.Is4() {
		return headerUDP + header4
	}
	return headerUDP + header6
}

// size returns the length of the IP packet as if it were not fragmented.
func (p *packet) size() int {
	n := len(p.data) + headers(p.dst.Addr())
	if p.refusal != nil { // it quotes both headers
		n += headers(p.dst.Addr())
	}
	return n
}

func (p *packet) public() Packet {
	return Packet{From: p.src, To: p.dst, Data: p.data, TTL: int(p.ttl), TrafficClass: p.class, ICMP: p.refusal != nil}
}

// newPacket returns a packet with a copy of data. Its callers, and those of the functions
// below, hold the network's lock.
func (n *Net) newPacket(data []byte) *packet {
	p := n.events.spare
	if p == nil {
		p = new(packet)
	} else {
		n.events.spare, p.next = p.next, nil
	}
	p.buf = buffer.Of(len(data))
	p.data = p.buf.B[:copy(p.buf.B, data)]
	return p
}

// clone returns a copy of a packet and its data. Its key differs from that of all other copies
// by the id of the pipe or socket that needs it.
func (n *Net) clone(p *packet, by uint64) *packet {
	c := n.newPacket(p.data)
	buf, data := c.buf, c.data
	*c = *p
	c.buf, c.data, c.next = buf, data, nil
	c.key.copy = mix(p.key.copy, by)
	return c
}

// free releases a packet and its buffer.
func (n *Net) free(p *packet) {
	if p.buf != nil {
		p.buf.Release(1)
	}
	*p = packet{next: n.events.spare}
	n.events.spare = p
}
