//go:build udpbasic || !linux

package sys

import (
	"net/netip"
	"sync"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

var oobs = sync.Pool{New: func() any { b := make([]byte, 0, 64); return &b }}

// Send implements socket.Socket.
func (c *Conn) Send(m socket.Message) error { return c.send(&m, true) }

func (c *Conn) send(m *socket.Message, wait bool) error {
	if !m.To.IsValid() {
		return c.sendFailed(c.write(m.Data, nil, m.To, wait))
	}
	if m.To.Addr().IsMulticast() && m.IfIndex == 0 {
		c.out.RLock()
		defer c.out.RUnlock()
	}
	if !m.From.IsValid() && m.ECN == 0 && m.IfIndex == 0 {
		return unwrapOp(c.write(m.Data, nil, m.To, wait))
	}
	oob := oobs.Get().(*[]byte)
	b := (*oob)[:0]
	byOption := false
	if m.IfIndex != 0 {
		var ok bool
		b, ok = cmsg.AppendInterface(b, m.From, m.IfIndex, m.To.Addr().Is6())
		byOption = !ok
	}
	if m.From.IsValid() && (m.IfIndex == 0 || byOption) {
		b = cmsg.AppendSource(b, m.From)
	}
	if byOption {
		restore, err := c.leaveBy(m.IfIndex, m.To.Addr().Is6())
		if err != nil {
			return err
		}
		defer restore()
	}
	if m.ECN != 0 {
		b = cmsg.AppendECN(b, m.ECN, m.To.Addr().Is6())
	}
	err := c.write(m.Data, b, m.To, wait)
	*oob = b
	oobs.Put(oob)
	return unwrapOp(err)
}

// write sends one datagram with the control messages oob. While the socket is
// connected, to is invalid.
func (c *Conn) write(data, oob []byte, to netip.AddrPort, wait bool) (err error) {
	switch {
	case !wait:
		return c.writeNow(data, oob, to)
	case !to.IsValid():
		_, err = c.uc.Write(data)
	case len(oob) == 0:
		_, err = c.uc.WriteToUDPAddrPort(data, to)
	default:
		_, _, err = c.uc.WriteMsgUDPAddrPort(data, oob, to)
	}
	return err
}

// Reported implements socket.Socket: nothing tells.
func (c *Conn) Reported() bool { return false }

// LostReports implements socket.Socket: none are kept.
func (c *Conn) LostReports() uint64 { return 0 }

func (c *Conn) closeReports() {}

// SendBatch implements socket.Socket.
func (c *Conn) SendBatch(ms []socket.Message, wait bool) (int, error) {
	for i := range ms {
		if err := c.send(&ms[i], wait); err != nil {
			return i, err
		}
	}
	return len(ms), nil
}
