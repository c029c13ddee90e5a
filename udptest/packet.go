package udptest

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/buffer"
)

// A Packet is what scripts and filters see of a datagram on its way. Data must
// not be kept or changed.
type Packet struct {
	From, To netip.AddrPort
	Data     []byte
	TTL      int
	ECN      uint8
	ICMP     bool // an ICMP message about a datagram From had got or forwarded; Data is what it quotes
}

// packet is one on its way: a datagram, or an ICMP message about one.
type packet struct {
	src, dst netip.AddrPort // without zones
	data     []byte         // lies in buf
	buf      *buffer.Buffer
	ttl      uint8
	class    uint8    // traffic class: DSCP and ECN
	refusal  *refusal // what an ICMP message says
	key      key
	unit     int // length of its longest fragment, with the header

	stage stage
	iface *Interface    // it left by, or comes to: see stage
	from  *Interface    // it left by last
	hop   netip.Addr    // whom on the segment it is for; invalid: everybody
	until time.Duration // it waits for hop
	by    *Pipe         // it is in, or has just passed
	left  time.Duration // when its last bit has left the host
	gone  bool          // with its host or interface, before that
	next  *packet       // in the list of spare ones
}

// A stage says where a packet is.
type stage uint8

const (
	onSegment  stage = iota // it has passed the link from iface to the segment
	atLink                  // it is before the link to iface
	atHost                  // it has passed that one
	unresolved              // it waits before the segment: nobody answers for hop
)

// A key names a datagram: it decides about its fate, and, with order, about its
// place among those of the same instant.
type key struct {
	origin uint64 // the socket, of which host
	seq    uint64 // how many that has sent before
	copy   uint64 // 0, or which duplicate, copy to a member of a group, or ICMP answer it is
	order  uint64 // how many its host has sent before: a link does not reorder
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

// headers is the length of those of a datagram.
func headers(to netip.Addr) int {
	if to.Is4() {
		return headerUDP + header4
	}
	return headerUDP + header6
}

// size is the length of the IP packet, as if it were in one piece.
func (p *packet) size() int {
	n := len(p.data) + headers(p.dst.Addr())
	if p.refusal != nil { // it quotes both headers
		n += headers(p.dst.Addr())
	}
	return n
}

func (p *packet) public() Packet {
	return Packet{From: p.src, To: p.dst, Data: p.data, TTL: int(p.ttl), ECN: p.class & 3, ICMP: p.refusal != nil}
}

// newPacket needs the lock; so do the other functions here.
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

// clone copies a packet with its data: whoever gets one may write to it. The copy
// differs from all others of the datagram by what made it: a pipe or a socket.
func (n *Net) clone(p *packet, by uint64) *packet {
	c := n.newPacket(p.data)
	buf, data := c.buf, c.data
	*c = *p
	c.buf, c.data, c.next = buf, data, nil
	c.key.copy = mix(p.key.copy, by)
	return c
}

// free gives up a packet and its buffer.
func (n *Net) free(p *packet) {
	if p.buf != nil {
		p.buf.Release(1)
	}
	*p = packet{next: n.events.spare}
	n.events.spare = p
}
