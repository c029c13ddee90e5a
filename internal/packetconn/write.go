package packetconn

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"

	"golang.org/x/net/ipv4"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// Write sends b to the peer.
func (c *Conn) Write(b []byte) error {
	switch {
	case c.Out.Life.Closed():
		return c.Fail(net.ErrClosed)
	case !c.Connected:
		return c.Fail(os.NewSyscallError("write", sys.EDESTADDRREQ))
	}
	return c.send("write", &socket.Message{Data: b})
}

// WriteTo sends b to an address.
func (c *Conn) WriteTo(b []byte, to netip.AddrPort) error {
	m := socket.Message{Data: b}
	err := c.target(&m, to)
	if c.Connected {
		err = net.ErrWriteToConnected
	}
	if err != nil {
		return c.Fail(err)
	}
	return c.send("sendto", &m)
}

// WriteMsg sends b with control messages, as several datagrams if one of those is
// UDP_SEGMENT.
func (c *Conn) WriteMsg(b, oob []byte, to netip.AddrPort) error {
	m := socket.Message{Data: b}
	err := c.target(&m, to)
	if err == nil {
		err = obey(&m, oob)
	}
	if err != nil {
		return c.Fail(err)
	}
	return c.send("sendmsg", &m)
}

// WriteBatch sends messages in order up to the first that cannot be sent, and returns how
// many were sent. The error is that of the first message.
func (c *Conn) WriteBatch(ms []ipv4.Message) (written int, err error) {
	c.Out.Flush()
	b := gso.Get(c.Out.Socket.Segments() > 1)
	defer b.Put()
	for written < len(ms) && err == nil {
		n := 0
		n, err = c.writeSome(b, ms[written:])
		for i := range ms[written : written+n] {
			ms[written+i].N = size(ms[written+i].Buffers)
		}
		written += n
	}
	if err != nil && written == 0 {
		return 0, c.Fail(sys.Call("sendmmsg", err))
	}
	return written, nil
}

// writeSome sends as many messages as fit into b, or one message of several datagrams.
func (c *Conn) writeSome(b *gso.Batch, ms []ipv4.Message) (written int, err error) {
	b.Reset()
	var bad error
	for n := 0; n < len(ms) && b.Len() < gso.MaxDatagrams; n++ {
		var m socket.Message
		if m, bad = c.message(&ms[n]); bad == nil {
			bad = c.Out.Address(&m, c.Out.Peer.Load())
		}
		if bad != nil {
			break
		}
		if m.Segment > 0 {
			if n > 0 {
				break
			}
			if err := c.sendSegments(&m); err != nil {
				return 0, err
			}
			return 1, nil
		}
		b.Lend(&m)
	}
	if written, err = c.sendMessages(b.Messages); err == nil {
		err = bad
	}
	return written, err
}

// message converts a program's message.
func (c *Conn) message(of *ipv4.Message) (m socket.Message, err error) {
	if len(of.Buffers) == 1 {
		m.Data = of.Buffers[0]
	} else {
		m.Data = bytes.Join(of.Buffers, nil)
	}
	var to netip.AddrPort
	switch a := of.Addr.(type) {
	case nil:
	case *net.UDPAddr:
		to = c.AddrPort(a)
	default:
		return m, sys.EINVAL
	}
	if err := c.target(&m, to); err != nil {
		return m, err
	}
	return m, obey(&m, of.OOB)
}

func size(buffers [][]byte) (n int) {
	for _, b := range buffers {
		n += len(b)
	}
	return n
}

// target sets the destination of m by package net's rules, and its source.
func (c *Conn) target(m *socket.Message, to netip.AddrPort) error {
	a := to.Addr().Unmap()
	switch {
	case c.Out.Life.Closed():
		return net.ErrClosed
	case c.Connected && to.IsValid():
		return net.ErrWriteToConnected
	case c.Connected:
		return nil
	case !a.IsValid():
		return &net.AddrError{Err: "missing address"}
	case c.ipv4 && !a.Is4():
		return &net.AddrError{Err: "non-IPv4 address", Addr: a.String()}
	case to.Port() == 0:
		return os.NewSyscallError("sendto", sys.EINVAL)
	}
	m.To = netip.AddrPortFrom(ThisHost(a), to.Port())
	if c.Sources != nil {
		m.From = c.Sources.Of(m.To)
	}
	return nil
}

// obey applies control messages to m.
func obey(m *socket.Message, oob []byte) error {
	if len(oob) == 0 {
		return nil
	}
	var s cmsg.Sending
	if !s.Parse(oob) {
		return os.NewSyscallError("sendmsg", sys.EINVAL)
	}
	if s.From.IsValid() {
		m.From = s.From
	}
	m.IfIndex = s.IfIndex
	m.TrafficClass, m.TTL = s.TrafficClass, s.TTL
	if s.Segment > 0 && len(m.Data) > s.Segment {
		m.Segment = s.Segment
	}
	return nil
}

// send sends m, which may be several datagrams, after the outbox.
func (c *Conn) send(call string, m *socket.Message) error {
	c.Out.Flush()
	err := c.Out.Address(m, c.Out.Peer.Load())
	switch {
	case err != nil:
		return c.Fail(err)
	case m.Segment > 0:
		err = c.sendSegments(m)
	default:
		if err = c.Out.Socket.Send(*m); err == nil {
			c.Out.Stats.CountSent(1, len(m.Data))
			return nil
		}
		err = c.again(*m, err)
	}
	if err != nil {
		return c.Fail(sys.Call(call, err))
	}
	return nil
}

// sendSegments sends a message of several datagrams, one by one if the socket cannot
// segment.
func (c *Conn) sendSegments(m *socket.Message) error {
	if c.Out.Socket.Segments() > 1 {
		_, err := c.sendMessages([]socket.Message{*m})
		return err
	}
	for rest := []socket.Message{*m}; len(rest) > 0; rest, _ = gso.Skip(rest, 1) {
		if _, err := c.sendMessages([]socket.Message{gso.First(rest)}); err != nil {
			return err
		}
	}
	return nil
}

// sendMessages sends up to the first datagram that cannot be sent.
func (c *Conn) sendMessages(ms []socket.Message) (sent int, err error) {
	for len(ms) > 0 {
		n, err := c.Out.Socket.SendBatch(ms, true)
		rest, bytes := gso.Skip(ms, n)
		c.Out.Stats.CountSent(n, bytes)
		if ms, sent = rest, sent+n; err == nil {
			continue
		}
		if err := c.again(gso.First(ms), err); err != nil {
			return sent, err
		}
		ms, _ = gso.Skip(ms, 1)
		sent++
	}
	return sent, nil
}

// again repeats a send that failed with err, if that may help.
func (c *Conn) again(m socket.Message, err error) error {
	class := sys.Classify(err)
	if class == sys.Report && c.Connected && !c.Out.PeerErrors {
		// As in package net, which has no other way to report it to a program that never reads.
		_ = c.Refused(socket.Report{Err: sys.ErrnoOf(err)})
		return err
	}
	if c.Sources != nil && m.From.IsValid() && (class == sys.Down || errors.Is(err, sys.EINVAL)) && c.Sources.Forget(m.To, m.From) {
		m.From = netip.Addr{} // this host no longer has it
		if err = c.Out.Socket.Send(m); err == nil {
			c.Out.Stats.CountSent(1, len(m.Data))
			return nil
		}
	}
	err, _ = c.Out.Again(m, err, send.Patient)
	return err
}

// Fail counts a datagram that was not sent.
func (c *Conn) Fail(err error) error {
	c.Out.CountFailure(err)
	return err
}
