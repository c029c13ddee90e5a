//go:build udpbasic || !linux

package sys

import (
	"errors"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// puller reads a socket for its callers, one datagram at a time.
type puller struct {
	conn    *Conn
	oob     []byte
	packets [1]socket.Packet
}

// Puller implements socket.Pulled.
func (c *Conn) Puller() socket.Puller {
	p := &puller{conn: c, oob: make([]byte, cmsg.Space)}
	if c.ownOptions {
		p.oob = make([]byte, moreSpace(len(p.oob)))
	}
	return p
}

// Pull implements socket.Puller.
func (p *puller) Pull([]byte, bool) ([]socket.Packet, error) {
	c, b := p.conn, buffer.Get()
	n, oobn, flags, from, err := c.read(b.B, p.oob)
	if err != nil {
		b.Release(1)
		if !c.pull.answer(c, err) && !errors.Is(err, ECONNABORTED) {
			return nil, unwrapOp(err)
		}
		if errors.Is(err, ECONNABORTED) {
			return nil, c.destroyed()
		}
		if lost := c.lost.Load(); lost != nil {
			return nil, *lost
		}
		return nil, nil
	}
	p.packets[0] = c.packet(b, n, p.oob[:oobn], flags, from)
	if cmsg.Truncated(flags) {
		p.oob = make([]byte, moreSpace(len(p.oob)))
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
