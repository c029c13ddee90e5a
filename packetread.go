package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
	"github.com/udpkit/udp/internal/sys"
)

// Read is ReadFrom without the sender. With an empty b it returns at once.
func (c *PacketConn) Read(b []byte) (int, error) {
	if len(b) == 0 && c.ok() && !c.closing.Load() {
		return 0, nil
	}
	n, _, _, _, err := c.read("read", b, nil)
	return n, err
}

// ReadFrom waits for a datagram, copies it into b and returns its length and its
// sender, a [*net.UDPAddr]. If b is too short the rest of the datagram is discarded,
// which [Stats.Cut] counts.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, addr, err := c.ReadFromUDP(b)
	if addr == nil {
		return n, nil, err
	}
	return n, addr, err
}

// ReadFromUDP is ReadFrom with another type of address.
func (c *PacketConn) ReadFromUDP(b []byte) (n int, addr *net.UDPAddr, err error) {
	if !c.ok() {
		return 0, nil, syscall.EINVAL
	}
	d, err := c.next(b, false)
	if err != nil {
		return 0, nil, c.readError("recvfrom", err)
	}
	defer c.reading.Unlock()
	n = c.copied(b, &d)
	addr = c.senderOf(&d)
	c.taken(1)
	return n, addr, nil
}

// ReadFromUDPAddrPort is ReadFrom without an allocation. As in package net, on a socket
// of both families the address of an IPv4 sender has its 4-in-6 form.
func (c *PacketConn) ReadFromUDPAddrPort(b []byte) (n int, addr netip.AddrPort, err error) {
	n, _, _, addr, err = c.read("recvfrom", b, nil)
	return n, addr, err
}

// ReadMsgUDP is ReadFrom that also copies control messages into oob, and returns their
// length and flags: MSG_TRUNC if b was too short, and MSG_CTRUNC if oob was too short
// and not empty.
func (c *PacketConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	n, oobn, flags, from, err := c.ReadMsgUDPAddrPort(b, oob)
	if from.IsValid() {
		addr = net.UDPAddrFromAddrPort(from)
	}
	return n, oobn, flags, addr, err
}

// ReadMsgUDPAddrPort is ReadMsgUDP without an allocation.
func (c *PacketConn) ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	return c.read("recvmsg", b, oob)
}

func (c *PacketConn) read(call string, b, oob []byte) (n, oobn, flags int, from netip.AddrPort, err error) {
	if !c.ok() {
		return 0, 0, 0, from, syscall.EINVAL
	}
	d, err := c.next(b, len(oob) > 0)
	if err != nil {
		return 0, 0, 0, from, c.readError(call, err)
	}
	defer c.reading.Unlock()
	if n = c.copied(b, &d); n < d.size() {
		flags = cmsg.DataTruncated
	}
	if len(oob) > 0 {
		var all bool
		if oobn, all = c.control(d.packet, oob); !all {
			flags |= cmsg.ControlTruncated
		}
	}
	if from = d.packet.From; !c.ipv4 && from.Addr().Is4() {
		from = netip.AddrPortFrom(netip.AddrFrom16(from.Addr().As16()), from.Port())
	}
	c.taken(1)
	return n, oobn, flags, from, nil
}

// delivery is a datagram in what was read.
type delivery struct {
	packet     *socket.Packet
	start, end int
}

func (d *delivery) data() []byte { return d.packet.Data[d.start:d.end:d.end] }

// size is the length of the datagram, which may be more than that of its data.
func (d *delivery) size() int { return d.end - d.start + d.packet.Cut }

// next waits for the next datagram and, unless it fails, locks reading. The datagram
// is valid until it is unlocked. It may be in b already, and without the headers.
func (c *PacketConn) next(b []byte, headers bool) (delivery, error) {
	if c.left.Load() {
		if d, ok, err := c.try(); ok || err != nil {
			return d, err
		}
	} else if err := c.ended(); err != nil {
		return delivery{}, err
	}
	c.pulling.Lock()
	defer c.pulling.Unlock()
	// Others may have read, and may still be copying.
	if d, ok, err := c.try(); ok || err != nil {
		return d, err
	}
	for {
		if err := c.pull(b, headers); err != nil {
			return delivery{}, err
		}
		if d, ok := c.following(); ok {
			return d, nil
		}
		c.taken(0)
		c.reading.Unlock()
		if err := c.ended(); err != nil {
			return delivery{}, err
		}
	}
}

// ended says why reads fail.
func (c *PacketConn) ended() error {
	switch late := c.deadline.Load(); {
	case c.closing.Load():
		return net.ErrClosed
	case late != 0 && int64(time.Since(c.created)) >= late:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// try is next without waiting.
func (c *PacketConn) try() (d delivery, ok bool, err error) {
	if err := c.ended(); err != nil {
		return d, false, err
	}
	c.reading.Lock()
	if d, ok = c.following(); !ok {
		c.taken(0)
		c.reading.Unlock()
	}
	return d, ok, nil
}

// following returns the next datagram of what was read. The caller holds reading.
func (c *PacketConn) following() (delivery, bool) {
	k := c.conn
	for c.at < len(c.packets) {
		p := &c.packets[c.at]
		d := delivery{p, c.off, len(p.Data)}
		if p.Segment > 0 && d.end-d.start > p.Segment {
			d.end = d.start + p.Segment
			c.off = d.end
		} else {
			c.at, c.off = c.at+1, 0
		}
		peer := k.peer.current.Load()
		switch {
		case p.Truncated, p.ControlTruncated, d.size() > k.cfg.MaxDatagram:
			k.drop(p, d.data(), stats.DropTruncated)
		case peer != nil && *peer != p.From:
			k.drop(p, d.data(), stats.DropStranger)
		default:
			return d, true
		}
	}
	return delivery{}, false
}

// pull reads the socket and, unless it fails, locks reading: a datagram that is in b
// is for nobody else. The caller holds pulling, and that nothing is left.
func (c *PacketConn) pull(b []byte, headers bool) error {
	k := c.conn
	ps, err := c.puller.Pull(b, headers || c.asked != nil)
	if err != nil {
		return err
	}
	n, bytes := 0, 0
	for i := range ps {
		n += datagrams(&ps[i])
		bytes += len(ps[i].Data) + ps[i].Cut
		if c.asked != nil {
			c.asked.note(&ps[i])
		}
	}
	if n > 0 {
		k.stats.CountRead(k.sock, n, bytes)
	}
	c.reading.Lock()
	c.packets, c.at, c.off = ps, 0, 0
	return nil
}

// taken counts n datagrams that are returned, and releases the buffers when none is
// left. The caller holds reading.
func (c *PacketConn) taken(n int) {
	if n > 0 {
		c.conn.stats.Handled.Add(int64(n))
	}
	over := c.at == len(c.packets)
	if over && c.packets != nil {
		c.packets, c.at, c.off = nil, 0, 0
		c.puller.Done()
	}
	if c.left.Load() == over {
		c.left.Store(!over)
	}
}

// copied copies a datagram into a buffer that may be too short.
func (c *PacketConn) copied(b []byte, d *delivery) int {
	n := d.end - d.start
	if d.packet.Buf != nil {
		n = copy(b, d.data())
	}
	if n < d.size() {
		c.conn.stats.Cut.Add(1)
	}
	return n
}

// control makes control messages for a program.
func (c *PacketConn) control(p *socket.Packet, oob []byte) (n int, all bool) {
	h := cmsg.Header{
		To: p.To.Addr(), Own: p.Own || c.asked == nil, IfIndex: p.IfIndex,
		TTL: p.TTL, TrafficClass: p.TrafficClass, HasClass: c.classes,
		IPv4: p.From.Addr().Is4(), Both: c.both,
	}
	return h.Put(oob)
}

// addrMemory is memory for a net.UDPAddr with its IP.
type addrMemory struct {
	addr net.UDPAddr
	ip   [16]byte
}

// addrsAtOnce is for how many datagrams that arrived as one addresses are allocated
// together. Whoever keeps one of them keeps all.
const addrsAtOnce = 8

// senderOf returns the sender of d as a net.Addr, which the caller may change. The caller
// holds reading.
func (c *PacketConn) senderOf(d *delivery) *net.UDPAddr {
	if len(c.addrs) == 0 {
		n := 1
		if size := d.packet.Segment; size > 0 {
			n += (len(d.packet.Data) - d.end + size - 1) / size
		}
		c.addrs = make([]addrMemory, min(n, addrsAtOnce))
	}
	m := &c.addrs[0]
	c.addrs = c.addrs[1:]
	return m.set(d.packet.From, c.ipv4)
}

// set makes an address in the form that package net has: with 4 bytes on a socket of
// IPv4, and with 16 on others.
func (m *addrMemory) set(from netip.AddrPort, ipv4 bool) *net.UDPAddr {
	a := from.Addr()
	if m.addr.IP = m.ip[:]; ipv4 {
		*(*[4]byte)(m.ip[:]) = a.As4()
		m.addr.IP = m.ip[:4:4]
	} else {
		m.ip = a.As16()
	}
	m.addr.Port, m.addr.Zone = int(from.Port()), a.Zone()
	return &m.addr
}

// readError wraps the error of a read as package net does.
func (c *PacketConn) readError(call string, err error) error {
	k := c.conn
	switch report, ok := errors.AsType[*socket.ReportError](err); {
	case c.closing.Load():
		err = net.ErrClosed
	case ok:
		r := k.refusal(report.Report)
		k.refused(r)
		err = r
	default:
		switch sys.Classify(err) {
		case sys.Closed, sys.Deadline:
		case sys.Report, sys.Unreachable, sys.TooLarge:
			k.refused(k.refusal(socket.Report{Err: sys.ErrnoOf(err)}))
			err = sys.Call(call, err)
		default:
			k.stats.ReadErrors.Add(1)
			err = sys.Call(call, err)
		}
	}
	return c.opError("read", c.local, c.remote, err)
}
