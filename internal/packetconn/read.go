package packetconn

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
	"github.com/udpkit/udp/internal/sys"
)

// ReadFrom reads one datagram into b.
func (c *Conn) ReadFrom(b []byte) (n int, from *net.UDPAddr, err error) {
	d, err := c.Next(b, false)
	if err != nil {
		return 0, nil, c.ReadError("recvfrom", err)
	}
	n = c.copied(b, &d)
	from = c.sender(&d)
	c.Done(1)
	return n, from, nil
}

// ReadMsg reads one datagram into b, and its control messages into oob. An IPv4 sender has
// its 4-in-6 form on a socket of both families. call names the system call in errors.
func (c *Conn) ReadMsg(call string, b, oob []byte) (n, oobn, flags int, from netip.AddrPort, err error) {
	d, err := c.Next(b, len(oob) > 0)
	if err != nil {
		return 0, 0, 0, from, c.ReadError(call, err)
	}
	if n = c.copied(b, &d); n < d.size() {
		flags = cmsg.DataTruncated
	}
	if len(oob) > 0 {
		var all bool
		if oobn, all = c.control(d.Packet, oob); !all {
			flags |= cmsg.ControlTruncated
		}
	}
	if from = d.Packet.From; !c.ipv4 && from.Addr().Is4() {
		from = netip.AddrPortFrom(netip.AddrFrom16(from.Addr().As16()), from.Port())
	}
	c.Done(1)
	return n, oobn, flags, from, nil
}

// ReadBatch reads up to len(ms) datagrams, at least one, and waits only for the first.
func (c *Conn) ReadBatch(ms []ipv4.Message) (int, error) {
	d, err := c.Next(nil, true)
	if err != nil {
		return 0, c.ReadError("recvmmsg", err)
	}
	n := 0
	var same controlCache
	for more := true; more; {
		m, data := &ms[n], d.Data()
		m.N, m.NN, m.Flags = 0, 0, 0
		for _, b := range m.Buffers {
			m.N += copy(b, data[m.N:])
		}
		if m.N < len(data) {
			c.Out.Stats.Cut.Add(1)
			m.Flags = cmsg.DataTruncated
		}
		if len(m.OOB) > 0 && !same.put(c, m, d.Packet) {
			m.Flags |= cmsg.ControlTruncated
		}
		m.Addr = c.sender(&d)
		if n++; n == len(ms) {
			break
		}
		d, more = c.Following()
	}
	c.Done(n)
	return n, nil
}

// controlCache holds the control messages of a packet, which are the same for all its
// datagrams.
type controlCache struct {
	packet *socket.Packet
	oob    []byte
}

func (h *controlCache) put(c *Conn, m *ipv4.Message, p *socket.Packet) (all bool) {
	if p == h.packet && len(m.OOB) >= len(h.oob) {
		m.NN = copy(m.OOB, h.oob)
		return true
	}
	if m.NN, all = c.control(p, m.OOB); all {
		h.packet, h.oob = p, m.OOB[:m.NN]
	}
	return all
}

// control makes control messages for a program.
func (c *Conn) control(p *socket.Packet, oob []byte) (n int, all bool) {
	h := cmsg.Header{
		To: p.To.Addr(), Own: p.Own || c.Sources == nil, IfIndex: p.IfIndex,
		TTL: p.TTL, TrafficClass: p.TrafficClass, HasClass: c.Classes,
		IPv4: p.From.Addr().Is4(), Both: c.Out.Family == socket.Dual,
	}
	return h.Put(oob)
}

// copied copies a datagram into a buffer that may be too short.
func (c *Conn) copied(b []byte, d *Delivery) int {
	n := d.end - d.Start
	if d.Packet.Buf != nil {
		n = copy(b, d.Data())
	}
	if n < d.size() {
		c.Out.Stats.Cut.Add(1)
	}
	return n
}

// A Delivery is a datagram in what was read.
type Delivery struct {
	Packet     *socket.Packet
	Start, end int
}

// Data is the payload.
func (d *Delivery) Data() []byte { return d.Packet.Data[d.Start:d.end:d.end] }

// size is the length of the datagram, which may exceed that of its data.
func (d *Delivery) size() int { return d.end - d.Start + d.Packet.Cut }

// Next waits for the next datagram and, unless it fails, locks reading until Done. The
// datagram is valid until then. It may already be in b, and then has fields that come from
// control messages only withControl.
func (c *Conn) Next(b []byte, withControl bool) (Delivery, error) {
	if c.left.Load() {
		if d, ok, err := c.try(); ok || err != nil {
			return d, err
		}
	} else if err := c.ended(); err != nil {
		return Delivery{}, err
	}
	c.pulling.Lock()
	defer c.pulling.Unlock()
	// Other goroutines may have read, and may still be copying.
	if d, ok, err := c.try(); ok || err != nil {
		return d, err
	}
	for {
		if err := c.pull(b, withControl); err != nil {
			return Delivery{}, err
		}
		if d, ok := c.Following(); ok {
			return d, nil
		}
		c.Done(0)
		if err := c.ended(); err != nil {
			return Delivery{}, err
		}
	}
}

// ended returns the reason why reads fail.
func (c *Conn) ended() error {
	switch late := c.deadline.Load(); {
	case c.Out.Life.Closed():
		return net.ErrClosed
	case late != 0 && int64(time.Since(c.created)) >= late:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// try is Next without waiting.
func (c *Conn) try() (d Delivery, ok bool, err error) {
	if err := c.ended(); err != nil {
		return d, false, err
	}
	c.reading.Lock()
	if d, ok = c.Following(); !ok {
		c.Done(0)
	}
	return d, ok, nil
}

// Following returns the next datagram of the batch, after Next.
func (c *Conn) Following() (Delivery, bool) {
	for c.at < len(c.packets) {
		p := &c.packets[c.at]
		d := Delivery{p, c.off, len(p.Data)}
		if p.Segment > 0 && d.end-d.Start > p.Segment {
			d.end = d.Start + p.Segment
			c.off = d.end
		} else {
			c.at, c.off = c.at+1, 0
		}
		peer := c.Out.Peer.Load()
		switch {
		case p.Truncated, p.ControlTruncated, d.size() > c.MaxDatagram:
			c.Drop(p, d.Data(), stats.DropTruncated)
		case peer != nil && *peer != p.From:
			c.Drop(p, d.Data(), stats.DropStranger)
		default:
			return d, true
		}
	}
	return Delivery{}, false
}

// pull reads the socket and, unless it fails, locks reading, because a datagram in b is
// for this caller only. The caller holds pulling, and the batch is empty.
func (c *Conn) pull(b []byte, withControl bool) error {
	ps, err := c.Puller.Pull(b, withControl || c.Sources != nil)
	if err != nil {
		return err
	}
	n, bytes := 0, 0
	for i := range ps {
		n += ps[i].Datagrams()
		bytes += len(ps[i].Data) + ps[i].Cut
		if c.Sources != nil {
			c.Sources.Note(&ps[i])
		}
	}
	if n > 0 {
		c.Out.Stats.CountRead(c.Out.Socket, n, bytes)
	}
	c.reading.Lock()
	c.packets, c.at, c.off = ps, 0, 0
	return nil
}

// Done counts n returned datagrams, releases the buffers of an empty batch, and unlocks
// reading.
func (c *Conn) Done(n int) {
	if n > 0 {
		c.Out.Stats.Handled.Add(int64(n))
	}
	over := c.at == len(c.packets)
	if over && c.packets != nil {
		c.packets, c.at, c.off = nil, 0, 0
		c.Puller.Done()
	}
	if c.left.Load() == over {
		c.left.Store(!over)
	}
	c.reading.Unlock()
}

// Discard drops the rest of the batch after the socket was closed.
func (c *Conn) Discard() {
	c.pulling.Lock() // the socket is closed, so no reader blocks for long
	defer c.pulling.Unlock()
	c.reading.Lock()
	for ; c.at < len(c.packets); c.at, c.off = c.at+1, 0 {
		p := c.packets[c.at]
		p.Data = p.Data[c.off:]
		for data := range p.Payloads() {
			c.Drop(&p, data, stats.DropClosed)
		}
	}
	c.Done(0)
}

// ReadError converts the error of a read to the one that package net wraps in its
// net.OpError.
func (c *Conn) ReadError(call string, err error) error {
	report, ok := errors.AsType[*socket.ReportError](err)
	switch {
	case c.Out.Life.Closed():
		return net.ErrClosed
	case ok:
		return c.Refused(report.Report)
	}
	switch sys.Classify(err) {
	case sys.Closed, sys.Deadline:
		return err
	case sys.Report, sys.Unreachable, sys.TooLarge:
		_ = c.Refused(socket.Report{Err: sys.ErrnoOf(err)})
	default:
		c.Out.Stats.ReadErrors.Add(1)
	}
	return sys.Call(call, err)
}
