package pcap

import (
	"net/netip"
	"time"

	"github.com/udpkit/udp"
)

// Trace returns a Trace for [udp.Config.Trace], of any number of sockets.
//
// Received and sent datagrams are packets. One that is dropped gets a comment with the reason; if
// it was received long before, another packet has that comment. An ICMP error is a packet with
// the error as its comment: an ICMP message, or where the system does not report who sent it, an
// empty datagram to the peer. Changes of memberships and repairs are not recorded.
func (c *Capture) Trace() *udp.Trace {
	return &udp.Trace{Received: c.received, Sent: c.sent, Dropped: c.wasDropped, Refused: c.refused}
}

func (c *Capture) received(conn *udp.Conn, d udp.Datagram) {
	c.addReceived(conn, d, "")
}

func (c *Capture) addReceived(conn *udp.Conn, d udp.Datagram, comment string) {
	local := conn.LocalAddrPort()
	to := d.To()
	if !to.Addr().IsValid() {
		to = local
	}
	r := record{at: d.Time(), where: where{local: local, zone: d.From.Addr().Zone()}, dir: inbound, peer: d.From, comment: comment}
	h := head{d.From, to, uint8(d.TTL()), d.TrafficClass()}.normal(d.From.Addr())
	c.addDatagram(r, h, d.Data)
}

func (c *Capture) sent(conn *udp.Conn, m udp.Message, at time.Time) {
	local := conn.LocalAddrPort()
	from := local
	if m.From.IsValid() {
		from = netip.AddrPortFrom(m.From, local.Port())
	}
	class := m.TrafficClass
	if m.ECN != 0 {
		class = class&^3 | uint8(m.ECN)
	}
	r := record{at: at, where: where{local: local, zone: m.To.Addr().Zone()}, dir: outbound}
	c.addDatagram(r, head{from, m.To, uint8(m.TTL), class}.normal(m.To.Addr()), m.Data)
}

func (c *Capture) wasDropped(conn *udp.Conn, d udp.Datagram, why udp.DropReason) {
	if !d.From.IsValid() {
		return // it was never read
	}
	comment := "dropped: " + why.String()
	w := where{local: conn.LocalAddrPort(), zone: d.From.Addr().Zone()}
	c.mu.Lock()
	found := c.dropped(w, d.From, d.Data, comment)
	c.mu.Unlock()
	if !found {
		c.addReceived(conn, d, comment)
	}
	if why == udp.DroppedPanicked {
		c.panicked()
	}
}

func (c *Capture) refused(conn *udp.Conn, f *udp.Refusal) {
	local := conn.LocalAddrPort()
	r := record{at: time.Now(), where: where{local: local, zone: f.Peer.Addr().Zone()}, dir: inbound, comment: "refused: " + f.Error()}
	if !f.Offender.IsValid() || f.Offender.Unmap().Is4() != f.Peer.Addr().Unmap().Is4() {
		r.dir = outbound
		c.addDatagram(r, head{src: local, dst: f.Peer}.normal(f.Peer.Addr()), nil)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if packet, err := c.builder.icmp(local, f); err == nil {
		c.add(r, packet)
	}
}

func (c *Capture) addDatagram(r record, h head, data []byte) {
	if r.at.IsZero() {
		r.at = time.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	packet, header, err := c.builder.datagram(h, data)
	if err != nil { // no address of a socket is that wrong
		return
	}
	r.header = header
	c.add(r, packet)
}
