package udp

import (
	"net/netip"
	"sync"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// packet is what up to 64 datagrams of one received packet share. Only its lease
// changes once a Handler has seen it. A packet is used once: see [buffer.Lease].
type packet struct {
	header  *header
	time    int64  // nanoseconds since 1970, 0: unknown
	queue   *fifo  // that the datagrams wait in, nil: they come from Received
	control []byte // see Datagram.Control
	passed  bool   // by a Handler into the queue: no socket accounts for that
	lease   buffer.Lease
}

// packets is memory for packets that nobody has used yet: making them one by one
// would be an allocation each.
type packets struct{ free []packet }

const packetsAtOnce = 256

var packetPool = sync.Pool{New: func() any { return new(packets) }}

// next returns a packet that has never been used.
func (ps *packets) next() *packet {
	if len(ps.free) == 0 {
		ps.free = make([]packet, packetsAtOnce)
	}
	p := &ps.free[0]
	ps.free = ps.free[1:]
	return p
}

// newPacket is packets.next for callers that need one only.
func newPacket() *packet {
	ps := packetPool.Get().(*packets)
	p := ps.next()
	packetPool.Put(ps)
	return p
}

// packet makes what the datagrams of p share.
func (r *reader) packet(p *socket.Packet, f *fifo) *packet {
	pk := r.fresh.next()
	pk.header, pk.queue = r.headers.find(r.conn, p), f
	if !p.Time.IsZero() {
		pk.time = p.Time.UnixNano()
	}
	pk.control = p.Control
	return pk
}

// header is what the IP header and the kernel said about a datagram. It is never
// changed once it has been made, so packets share it.
type header struct {
	conn       *Conn          // nil: made for a test
	asked      netip.AddrPort // as the socket reported it
	to         netip.AddrPort // with port and zone
	ifIndex    int
	ttl, class uint8
	own        bool           // to is an address of this host that a reply can leave from
	reply      socket.Message // of a reply, all but the payload and the peer
	refusal    *Refusal       // in a fifo of Workers: it is not a datagram
}

// headers remembers the headers of recent packets, which are alike mostly.
type headers struct {
	last   *header
	recent []*header // a small cache, nil until there is more than one
}

const recentHeaders = 32

// find returns the header of p.
func (hs *headers) find(c *Conn, p *socket.Packet) *header {
	if h := hs.last; h != nil && h.is(p) {
		return h
	}
	return hs.search(c, p)
}

// search is find for a packet whose header is not the last one's.
func (hs *headers) search(c *Conn, p *socket.Packet) *header {
	at := (uint(p.TTL)*31 + uint(p.TrafficClass)*7 + uint(p.IfIndex)*5 + uint(p.To.Addr().As16()[15])) % recentHeaders
	if hs.recent != nil {
		if h := hs.recent[at]; h != nil && h.is(p) {
			hs.last = h
			return h
		}
	} else if hs.last != nil {
		hs.recent = make([]*header, recentHeaders)
	}
	h := newHeader(c, p)
	if hs.last = h; hs.recent != nil {
		hs.recent[at] = h
	}
	return h
}

func (h *header) is(p *socket.Packet) bool {
	return h.asked == p.To && h.ifIndex == p.IfIndex && h.ttl == p.TTL && h.class == p.TrafficClass && h.own == p.Own
}

func newHeader(c *Conn, p *socket.Packet) *header {
	h := &header{conn: c, asked: p.To, to: p.To, ifIndex: p.IfIndex, ttl: p.TTL, class: p.TrafficClass, own: p.Own}
	a := p.To.Addr()
	if !a.IsValid() {
		return h
	}
	port := p.To.Port()
	if port == 0 {
		port = c.LocalAddrPort().Port()
	}
	h.to = netip.AddrPortFrom(a, port)
	if p.Own {
		h.reply.From = a
	}
	if broadcast := a.Is4() && !p.Own && !a.IsMulticast(); broadcast || c.cfg.ReplyByInterface {
		h.reply.IfIndex = p.IfIndex
	}
	return h
}
