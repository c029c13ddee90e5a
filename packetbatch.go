package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// ReadBatch reads up to len(ms) datagrams, as [ipv4.PacketConn.ReadBatch] does. It
// waits for the first only. It sets Addr, N, NN and Flags. The flags must be 0.
func (c *PacketConn) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	if flags != 0 {
		return 0, c.opError("read", c.local, c.remote, errors.ErrUnsupported)
	}
	if len(ms) == 0 {
		return 0, nil
	}
	d, err := c.next(nil, true)
	if err != nil {
		return 0, c.readError("recvmmsg", err)
	}
	defer c.reading.Unlock()
	n := 0
	var same headersOf
	for more := true; more; {
		m, data := &ms[n], d.data()
		m.N, m.NN, m.Flags = 0, 0, 0
		for _, b := range m.Buffers {
			m.N += copy(b, data[m.N:])
		}
		if m.N < len(data) {
			c.conn.stats.Cut.Add(1)
			m.Flags = cmsg.DataTruncated
		}
		if len(m.OOB) > 0 && !same.put(c, m, d.packet) {
			m.Flags |= cmsg.ControlTruncated
		}
		m.Addr = c.senderOf(&d)
		if n++; n == len(ms) {
			break
		}
		d, more = c.following()
	}
	c.taken(n)
	return n, nil
}

// headersOf remembers the control messages of a packet: those of its other datagrams are
// the same.
type headersOf struct {
	packet *socket.Packet
	oob    []byte
}

func (h *headersOf) put(c *PacketConn, m *ipv4.Message, p *socket.Packet) (all bool) {
	if p == h.packet && len(m.OOB) >= len(h.oob) {
		m.NN = copy(m.OOB, h.oob)
		return true
	}
	if m.NN, all = c.control(p, m.OOB); all {
		h.packet, h.oob = p, m.OOB[:m.NN]
	}
	return all
}

// Receive waits for a datagram, stores up to len(ds) datagrams of one read in ds and
// returns their number. It copies no payload. The caller owns the datagrams and calls
// [Datagram.Release] for each. [Datagram.Reply] sends at once.
func (c *PacketConn) Receive(ds []Datagram) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	if len(ds) == 0 {
		return 0, nil
	}
	d, err := c.next(nil, true)
	if err != nil {
		return 0, c.readError("recvmmsg", err)
	}
	defer c.reading.Unlock()
	var (
		n, leased int
		of        *socket.Packet
		shared    *packet // by the datagrams of one
	)
	for more := true; more; {
		if p := d.packet; p != of || leased == buffer.MaxLease {
			shared, of, leased = newPacket(), p, 0
			shared.header = c.headers.find(c.conn, p)
			if !p.Time.IsZero() {
				shared.time = p.Time.UnixNano()
			}
			shared.control = p.Control
			shared.lease.Init(p.Buf, p.Data[d.start:], p.Segment)
		}
		leased++
		ds[n] = Datagram{Data: d.data(), From: of.From, packet: shared}
		ds[n].Retain()
		if n++; n == len(ds) {
			break
		}
		d, more = c.following()
	}
	c.taken(n)
	return n, nil
}

// SendBatch is [Conn.SendBatch].
func (c *PacketConn) SendBatch(ms []Message) (sent int, err error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	return c.conn.SendBatch(ms)
}

// WriteBatch sends messages in order, as [ipv4.PacketConn.WriteBatch] does, with few
// system calls, and returns how many were sent. It stops at the first message that
// cannot be sent. If that is the first of all, its error is returned. It sets N. The
// flags must be 0.
func (c *PacketConn) WriteBatch(ms []ipv4.Message, flags int) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	if flags != 0 {
		return 0, c.opError("write", c.local, c.remote, errors.ErrUnsupported)
	}
	c.conn.out.Flush()
	b := gso.Get(c.sock.Segments() > 1)
	defer b.Put()
	written, err := 0, error(nil)
	for written < len(ms) && err == nil {
		n := 0
		n, err = c.writeSome(b, ms[written:])
		for i := range ms[written : written+n] {
			ms[written+i].N = size(ms[written+i].Buffers)
		}
		written += n
	}
	if err != nil && written == 0 {
		return c.wrote(0, ms[0].Addr, c.failed(sys.Call("sendmmsg", err)))
	}
	return written, nil
}

// writeSome sends as many messages as fit into b, or one that is several datagrams.
func (c *PacketConn) writeSome(b *gso.Batch, ms []ipv4.Message) (written int, err error) {
	b.Reset()
	var bad error
	n := 0
	for ; n < len(ms) && b.Len() < gso.MaxDatagrams; n++ {
		var m socket.Message
		if m, bad = c.message(&ms[n]); bad == nil {
			bad = c.conn.out.Address(&m)
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

// message makes a message of one that a program gives.
func (c *PacketConn) message(of *ipv4.Message) (m socket.Message, err error) {
	if len(of.Buffers) == 1 {
		m.Data = of.Buffers[0]
	} else {
		m.Data = bytes.Join(of.Buffers, nil)
	}
	var to netip.AddrPort
	switch a := of.Addr.(type) {
	case nil:
	case *net.UDPAddr:
		to = c.addrPort(a)
	default:
		return m, sys.EINVAL
	}
	if err := c.target(&m, to); err != nil {
		return m, err
	}
	return m, c.obey(&m, of.OOB)
}

func size(buffers [][]byte) (n int) {
	for _, b := range buffers {
		n += len(b)
	}
	return n
}

// sendMessages sends up to the first datagram that can't be sent.
func (c *PacketConn) sendMessages(ms []socket.Message) (sent int, err error) {
	k := c.conn
	for len(ms) > 0 {
		n, err := k.sock.SendBatch(ms, true)
		rest, bytes := gso.Skip(ms, n)
		k.stats.CountSent(n, bytes)
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
