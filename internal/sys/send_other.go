//go:build udpbasic || !linux

package sys

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

var oobs = sync.Pool{New: func() any { b := make([]byte, 0, 128); return &b }}

// Send implements socket.Socket.
func (c *Conn) Send(m socket.Message) error { return c.send(&m, true) }

func (c *Conn) send(m *socket.Message, wait bool) error {
	if c.alone.Load() {
		sourced := c.withSource(*m)
		m = &sourced
	}
	to := m.To
	if to.Addr().IsMulticast() && m.IfIndex == 0 {
		c.out.RLock()
		defer c.out.RUnlock()
	}
	if !m.From.IsValid() && m.IfIndex == 0 && m.TTL|m.TrafficClass|m.ECN == 0 && m.Segment == 0 && len(m.Control) == 0 {
		return c.sendFailed(c.write(m.Data, nil, m.To, wait))
	}
	if !to.IsValid() {
		to = c.peerNow()
	}
	oob := oobs.Get().(*[]byte)
	defer oobs.Put(oob)
	b, byOption, err := c.control((*oob)[:0], m, to)
	if *oob = b; err != nil {
		return err
	}
	if byOption {
		restore, err := c.leaveBy(m.IfIndex, to.Addr().Is6())
		if err != nil {
			return err
		}
		defer restore()
	}
	return c.sendFailed(c.write(m.Data, b, m.To, wait))
}

// control appends the control messages of m, whose destination is to. byOption: the interface
// has to be set on the socket, which only works for groups.
func (c *Conn) control(b []byte, m *socket.Message, to netip.AddrPort) (all []byte, byOption bool, err error) {
	v6, ok := to.Addr().Is6(), true
	outlet := c.outletOf(m)
	if outlet != 0 {
		b, ok = cmsg.AppendInterface(b, c.sourceOf(m), outlet, v6)
		if byOption = !ok; byOption && !to.Addr().IsMulticast() {
			return b, false, fmt.Errorf("outgoing interface of one datagram: %w", errors.ErrUnsupported)
		}
	}
	if m.From.IsValid() && (outlet == 0 || byOption) {
		b = cmsg.AppendSource(b, m.From)
	}
	if m.TrafficClass|m.ECN != 0 && (c.takesClass() || m.TrafficClass != 0) {
		if b, ok = cmsg.AppendTrafficClass(b, classOf(m, c.socketClass(v6)), v6); !ok && m.TrafficClass != 0 {
			return b, false, fmt.Errorf("traffic class of one datagram: %w", errors.ErrUnsupported)
		}
	}
	if m.TTL != 0 {
		if b, ok = cmsg.AppendTTL(b, m.TTL, v6); !ok {
			return b, false, fmt.Errorf("TTL of one datagram: %w", errors.ErrUnsupported)
		}
	}
	if len(m.Control) > 0 && !haveControlMessages {
		return b, false, fmt.Errorf("control messages: %w", errors.ErrUnsupported)
	}
	if m.Segment != 0 {
		b = appendSegment(b, m.Segment)
	}
	return append(b, m.Control...), byOption, nil
}

// peerNow returns the desired peer.
func (c *Conn) peerNow() netip.AddrPort {
	c.changing.Lock()
	defer c.changing.Unlock()
	return c.peer.want
}

// write sends one datagram with the control messages oob. While the socket is
// connected, to is invalid.
func (c *Conn) write(data, oob []byte, to netip.AddrPort, wait bool) (err error) {
	switch {
	case !wait, !to.IsValid() && len(oob) > 0:
		return c.sendmsg(data, oob, to, wait)
	case !to.IsValid():
		_, err = c.uc.Write(data)
	case len(oob) == 0:
		_, err = c.uc.WriteToUDPAddrPort(data, to)
	default:
		_, _, err = c.uc.WriteMsgUDPAddrPort(data, oob, to)
	}
	return err
}

// ErrorPending implements socket.Socket. It is unknown here.
func (c *Conn) ErrorPending() bool { return false }

// LostReports implements socket.Socket: there is no error queue here.
func (c *Conn) LostReports() uint64 { return 0 }

func (c *Conn) closeReports() {}

// SendBatch implements socket.Socket.
func (c *Conn) SendBatch(ms []socket.Message, wait bool) (int, error) {
	sent := 0
	for i := range ms {
		n, err := c.sendSegments(&ms[i], wait)
		if sent += n; err != nil {
			return sent, err
		}
	}
	return sent, nil
}
