package udp

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
)

// A Datagram is a received datagram.
//
// Data lies in a buffer that the datagrams of one read may share. Inside
// [Handler.Received] it is valid until Received returns; Retain keeps it longer, Clone
// copies it. A Datagram from a [Queue] belongs to the consumer: Release gives the
// buffer back for reuse; without Release the garbage collector frees it. Everything
// except Data stays valid after Release, so Reply may be called at any time. The owner
// of Data may write to it. Appending to Data copies it, because its capacity is its
// length, so it never overwrites another datagram.
//
// With the race detector, a released buffer is overwritten, which makes a later use
// visible.
type Datagram struct {
	Data []byte         // payload, 0 to 65,527 bytes
	From netip.AddrPort // sender; IPv4 is never 4-in-6; an IPv6 zone is kept

	packet *packet // nil: not received by a socket, and has no header
}

// NewDatagram makes a Datagram that no socket received. It exists for package udptest.
// Call udptest.Datagram instead.
func NewDatagram(p socket.Packet) Datagram {
	pk := new(packet)
	pk.describe(&p, &header{to: p.To, ifIndex: p.IfIndex, ttl: p.TTL, class: p.TrafficClass, own: p.Own})
	return Datagram{Data: p.Data, From: p.From, packet: pk}
}

// noHeader is the header of a Datagram literal.
var noHeader header

func (d *Datagram) header() *header {
	if d.packet == nil {
		return &noHeader
	}
	return d.packet.header
}

// Conn returns the socket that received d, nil if none did.
func (d Datagram) Conn() *Conn { return d.header().conn }

// To returns the address and port that d was sent to, with the zone of a link-local
// address. The address is invalid where the system does not report it: see
// [Info.PacketInfo].
func (d Datagram) To() netip.AddrPort { return d.header().to }

// IfIndex returns the index of the interface that d arrived on, 0 if unknown.
func (d Datagram) IfIndex() int { return d.header().ifIndex }

// TTL returns the TTL (IPv4) or hop limit (IPv6) that d arrived with, 0 if unknown.
func (d Datagram) TTL() int { return int(d.header().ttl) }

// TrafficClass returns the traffic class of the IP header, called TOS in IPv4: the
// DSCP (RFC 2474) in the upper six bits and ECN in the lower two. It is 0 if unknown.
func (d Datagram) TrafficClass() uint8 { return d.header().class }

// ECN returns the explicit congestion notification field of the IP header,
// [NotECT] if unknown: see [Info.ECN].
func (d Datagram) ECN() ECN { return ECN(d.header().class & 3) }

// Time returns when the kernel received d, the zero time without
// [Config.Timestamps].
func (d Datagram) Time() time.Time {
	if d.packet == nil || d.packet.time == 0 {
		return time.Time{}
	}
	return time.Unix(0, d.packet.time)
}

// Control returns the control messages (cmsg(3)) received with d, as the system
// encodes them, or nil without [Config.ControlMessages]. Package golang.org/x/sys/unix
// parses them. The slice stays valid after Release. The datagrams of a coalesced
// packet share it.
func (d Datagram) Control() []byte {
	if d.packet == nil {
		return nil
	}
	return d.packet.control
}

// Reply sends b to d.From, on the socket that received d. Its source is the address
// that d was sent to. If that is a group, a broadcast address or unknown, the system
// chooses the source. Replies to link-local peers and to broadcasts, and with
// [Config.ReplyByInterface] all replies, leave on the interface that d arrived on.
//
// Reply may be called at any time and from any goroutine. While more datagrams wait to
// be handled, Reply copies b, and it is sent together with other replies.
// [Conn.Enqueue] describes that, and the errors.
func (d Datagram) Reply(b []byte) error {
	p := d.packet
	if p == nil || p.header.conn == nil {
		return &net.OpError{Op: "send", Net: "udp", Err: errNoConn}
	}
	return p.header.conn.reply(b, d.From, p)
}

// Drop counts d in [Drops.Handler] instead of [Stats.Handled]. A [Handler] that
// rejects d calls it in Received, at most once. It does not release d.
func (d Datagram) Drop() {
	if c := d.header().conn; c != nil {
		c.stats.Handled.Add(-1)
		c.countDropped(d, stats.DropHandler)
	}
}

// Clone returns a copy of d with a Data of its own, which is never overwritten;
// Retain and Release do nothing on it.
func (d Datagram) Clone() Datagram {
	d.Data = bytes.Clone(d.Data)
	if d.Data == nil {
		d.Data = []byte{}
	}
	if p := d.packet; p != nil && p.lease.Holds() {
		d.packet = &packet{header: p.header, time: p.time, queue: p.queue, control: p.control}
	}
	return d
}

// Retain keeps d.Data valid after Received has returned, until Release. Each Retain
// needs its own Release. Retain keeps the whole buffer, up to 64 KiB, so use Clone for
// datagrams that are kept long.
func (d Datagram) Retain() {
	if d.packet != nil {
		d.packet.lease.Retain(d.Data)
	}
}

// Release ends the use of d.Data. It panics when it is called more often than Retain.
// A datagram from a [Queue] counts as retained once.
func (d Datagram) Release() {
	if d.packet != nil {
		d.packet.lease.Release(d.Data)
	}
}

// ECN is the explicit congestion notification field of the IP header (RFC 3168,
// section 5).
type ECN uint8

// The four codepoints of ECN.
const (
	NotECT ECN = iota // not ECN-capable
	ECT1              // ECN-capable transport, codepoint 1
	ECT0              // ECN-capable transport, codepoint 0
	CE                // congestion experienced
)

// packet is the state that up to 64 datagrams of one received packet share. Once a
// Handler has seen a packet, only its lease changes. A packet is used once: see
// [buffer.Lease].
type packet struct {
	header  *header
	time    int64  // nanoseconds since 1970, 0: unknown
	queue   *fifo  // in which the datagrams wait; nil: passed to Received directly
	control []byte // see Datagram.Control
	passed  bool   // passed on by a Handler: no socket accounts for it
	lease   buffer.Lease
}

// packets allocates packets in blocks, to save an allocation for each.
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

// packet returns the state that the datagrams of p share.
func (r *reader) packet(p *socket.Packet, f *fifo) *packet {
	pk := r.fresh.next()
	pk.describe(p, r.headers.find(r.conn, p))
	pk.queue = f
	return pk
}

// describe sets what pk has from the packet that was received.
func (pk *packet) describe(p *socket.Packet, h *header) {
	pk.header, pk.control = h, p.Control
	if !p.Time.IsZero() {
		pk.time = p.Time.UnixNano()
	}
}

// header is the information from the IP header and the kernel about a datagram. It is
// immutable, so packets share it.
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

// headerCache holds the headers of recent packets, most of which are equal.
type headerCache struct {
	last   *header
	recent []*header // a small cache, nil until there is more than one
}

const recentHeaders = 32

// find returns the header of p.
func (hs *headerCache) find(c *Conn, p *socket.Packet) *header {
	if h := hs.last; h != nil && h.is(p) {
		return h
	}
	return hs.search(c, p)
}

// search is find for a packet whose header differs from the last one.
func (hs *headerCache) search(c *Conn, p *socket.Packet) *header {
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
	h.chooseReplySource(c, p)
	return h
}

// chooseReplySource chooses the source address and the outgoing interface of replies to
// p. For a link-local peer its zone chooses the interface.
func (h *header) chooseReplySource(c *Conn, p *socket.Packet) {
	a := p.To.Addr()
	if p.Own {
		h.reply.From = a
	}
	if broadcast := a.Is4() && !p.Own && !a.IsMulticast(); broadcast || c.cfg.ReplyByInterface {
		h.reply.IfIndex = p.IfIndex
	}
}
