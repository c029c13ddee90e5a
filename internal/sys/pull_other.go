//go:build udpbasic || !linux

package sys

import (
	"net/netip"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// puller reads a socket for its callers, a datagram at a time.
type puller struct {
	conn    *Conn
	oob     [cmsg.Space]byte
	packets [1]socket.Packet
}

// Puller implements socket.Pulled.
func (c *Conn) Puller() socket.Puller { return &puller{conn: c} }

// Pull implements socket.Puller.
func (p *puller) Pull() ([]socket.Packet, error) {
	c, b := p.conn, buffer.Get()
	n, oobn, from, err := c.read(b.B, p.oob[:])
	if err != nil {
		b.Release(1)
		if c.pull.answer(c, err) {
			return nil, nil
		}
		return nil, unwrapOp(err)
	}
	m := cmsg.Received{To: c.only}
	cmsg.Parse(p.oob[:oobn], &m)
	p.packets[0] = socket.Packet{
		Data: b.B[:n], Buf: b, From: unmap(from), To: netip.AddrPortFrom(m.To, 0),
		Own: m.Own, IfIndex: m.IfIndex, TTL: m.TTL, TrafficClass: m.TrafficClass, Time: m.Time,
	}
	return p.packets[:], nil
}

// Done implements socket.Puller.
func (p *puller) Done() {
	if b := p.packets[0].Buf; b != nil {
		b.Release(1)
		p.packets[0] = socket.Packet{}
	}
}

// Uncoalesced implements socket.Pulled: nothing is coalesced here.
func (c *Conn) Uncoalesced() error { return nil }
