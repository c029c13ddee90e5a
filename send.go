package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Message is a datagram to send with [Conn.SendBatch] or [Conn.Enqueue]. The zero
// value of a field, except Data, means the socket's setting, or the system's choice.
//
// Linux supports all fields. macOS and the BSDs support all of them over IPv6. Over
// IPv4 they do not support TTL, and IfIndex only to a group; only macOS and FreeBSD
// support TrafficClass. Windows and Plan 9 support IfIndex only to a group, and
// neither TTL nor TrafficClass. A message with an unsupported field fails with an
// error wrapping [errors.ErrUnsupported].
type Message struct {
	Data         []byte         // payload; may be empty; not kept
	To           netip.AddrPort // destination; on a connected socket the zero value is its peer
	From         netip.Addr     // source address; ignored on a connected socket
	IfIndex      int            // outgoing interface
	TTL          int            // TTL or hop limit, 1 to 255, also to a group
	TrafficClass uint8          // traffic class (TOS): DSCP and ECN
	Control      []byte         // raw control messages: see [Config.ControlMessages]; not kept
	ECN          ECN            // replaces the two lower bits of the traffic class, where [Info.ECN] says so
}

// message converts m to s. It returns an error for a value out of range.
func (m *Message) message(s *socket.Message) error {
	if uint(m.TTL) > 255 {
		return fmt.Errorf("TTL %d is not between 0 and 255: %w", m.TTL, os.ErrInvalid)
	}
	s.Data, s.To, s.From, s.IfIndex = m.Data, m.To, m.From, m.IfIndex
	s.TTL, s.TrafficClass, s.ECN, s.Control = uint8(m.TTL), m.TrafficClass, uint8(m.ECN&3), m.Control
	return nil
}

// sameHeader reports whether m and like differ in their payload only.
func (m *Message) sameHeader(like *Message) bool {
	return m.To == like.To && m.From == like.From && m.ECN == like.ECN &&
		m.IfIndex == like.IfIndex && m.TTL == like.TTL && m.TrafficClass == like.TrafficClass &&
		len(m.Control)+len(like.Control) == 0
}

// SendTo sends b to an address and returns the kernel's result. It sends at once, even
// inside a callback. b may be empty; SendTo does not keep it. SendTo waits while the
// kernel's buffer is full, until the write deadline. A connected socket can send to
// its peer only; for another address the error is EISCONN.
//
// An ICMP error about an older datagram never fails this one. Errors: [ErrFamily]
// and [ErrTooLarge] before any system call, [net.ErrClosed],
// [os.ErrDeadlineExceeded], and errnos of the system, all in a [*net.OpError].
func (c *Conn) SendTo(b []byte, to netip.AddrPort) error {
	if !c.ok() {
		return errNoSocket("send")
	}
	m := socket.Message{Data: b, To: to}
	return c.sendNow(&m)
}

// sendNow sends m, after the outbox.
func (c *Conn) sendNow(m *socket.Message) error {
	to := m.To
	return c.opError("send", to, c.out.SendNow(m))
}

// SendBatch sends the messages in order, with fewer system calls where the system
// supports that, and returns how many the kernel accepted. It continues after messages
// that cannot be sent; the error is a [*BatchError] that lists them. It stops early
// only when the socket is closed or the write deadline has passed. Otherwise it is
// like [Conn.SendTo].
func (c *Conn) SendBatch(ms []Message) (sent int, err error) {
	if !c.ok() {
		return 0, errNoSocket("send")
	}
	c.out.Flush()
	if c.closed() {
		if len(ms) == 0 {
			return 0, c.opError("send", netip.AddrPort{}, net.ErrClosed)
		}
		c.out.CountFailure(net.ErrClosed)
		failed := new(BatchError).add(c, 0, ms[0].To, net.ErrClosed)
		failed.Untried = len(ms) - 1
		return 0, failed
	}
	peer := c.out.Steady()
	defer c.out.Leave(peer)
	b := gso.Get(c.sock.Segments() > 1)
	defer b.Put()
	var failed *BatchError
	for next := 0; next < len(ms); {
		n, bad := c.fill(b, ms[next:], peer)
		left, some, cause := c.out.Transmit(b.Messages, send.Patient)
		sent += n - len(some)
		for _, f := range some {
			failed = failed.add(c, next+f.Index, f.To, f.Err)
		}
		if cause != nil {
			untried := 0
			for i := range left {
				untried += left[i].Datagrams()
			}
			sent -= untried
			c.out.CountFailure(cause)
			at := next + n - untried
			failed = failed.add(c, at, ms[at].To, cause)
			failed.Untried = len(ms) - at - 1
			break
		}
		if next += n; bad != nil {
			c.out.CountFailure(bad)
			failed = failed.add(c, next, ms[next].To, bad)
			next++
		}
		b.Reset()
	}
	if failed == nil {
		return sent, nil
	}
	return sent, failed
}

// fill puts messages into b until b is full or a message cannot be sent. Messages that
// differ in their payload only are checked once.
func (c *Conn) fill(b *gso.Batch, ms []Message, peer *netip.AddrPort) (n int, bad error) {
	for n < len(ms) && b.Len() < gso.MaxDatagrams {
		like := &ms[n]
		var m socket.Message
		err := like.message(&m)
		if err == nil {
			err = c.out.Address(&m, peer)
		}
		if err != nil {
			return n, err
		}
		b.Lend(&m)
		for n++; n < len(ms) && b.Open() && ms[n].sameHeader(like) && b.Append(ms[n].Data); n++ {
		}
	}
	return n, nil
}

// SendContext sends m like SendTo, but waits until ctx ends instead of the write
// deadline. It waits until the outbox has been sent, for room in the socket's buffer,
// and also for room in the queue of the outgoing interface. If ctx ends first, the
// datagram is not sent, the error wraps ctx's error, and [SendFailures].Deadline counts
// it. If ctx has ended already, SendContext still sends m if it need not wait.
//
// While it waits, it tries again at least every few milliseconds. Other sends may use
// the room first. On Windows, AIX and Plan 9, ctx does not interrupt a send that waits
// for the socket's buffer.
func (c *Conn) SendContext(ctx context.Context, m Message) error {
	if !c.ok() {
		return errNoSocket("send")
	}
	var s socket.Message
	err := m.message(&s)
	if err != nil {
		c.out.CountFailure(err)
	} else {
		err = c.out.SendContext(ctx, &s)
	}
	return c.opError("send", m.To, err)
}

// SetWriteDeadline sets the deadline of future and waiting sends; a zero t means no
// deadline. After the deadline sends fail even if they need not wait, as in package
// net.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if !c.ok() {
		return errNoSocket("set")
	}
	c.out.Flush()
	return c.opError("set", netip.AddrPort{}, c.out.SetDeadline(t))
}

// A GroupSend is the result of [MulticastConn.SendGroup] or [Conn.SendBroadcast] on one
// interface.
type GroupSend struct {
	Name  string // of the interface
	Index int    // of the interface, 0 while there is none of that name
	Err   error  // nil if the system accepted the datagram
}

// SendGroup sends b to a group on each of the named interfaces. If none is named, it sends
// on the interfaces where the group is joined. If the group is not joined, it sends on the
// interfaces where Join would join it. The choice of [MulticastConn.SetMulticastInterface]
// neither applies nor changes.
//
// It sends immediately and returns a result for each interface. The error is nil if at
// least one send succeeded. Otherwise it joins the errors of all; they are those of
// [Conn.SendTo].
func (m *MulticastConn) SendGroup(b []byte, group netip.Addr, port uint16, ifs ...*net.Interface) ([]GroupSend, error) {
	if err := m.ready("send"); err != nil {
		return nil, err
	}
	group = group.Unmap()
	to := netip.AddrPortFrom(group.WithZone(""), port)
	if !group.IsMulticast() {
		return nil, m.opError("send", to, &net.AddrError{Err: "not a multicast group", Addr: group.String()})
	}
	outlets, err := m.memberships.Outlets(group, ifs)
	if err != nil {
		return nil, m.opError("send", to, err)
	}
	sent := make([]GroupSend, len(outlets))
	for i, o := range outlets {
		if o.Err == nil {
			o.Err = m.sendBy(b, to, o.Index)
		}
		sent[i] = GroupSend(o)
	}
	return sent, m.noneSent(to, sent)
}

// SendBroadcast broadcasts b on each of the named interfaces. If none is named, it sends on
// every interface that is up, can broadcast, has an IPv4 address, and that
// [Config.InterfaceFilter] selects. The source is an address of the interface, or the
// address that the socket is bound to. (SendTo 255.255.255.255 uses only one interface, by
// the routes, and fails without a route.)
//
// It sends immediately and returns a result for each interface. The destination is
// 255.255.255.255. On macOS, the BSDs and Windows, where a send cannot choose the
// interface, it is the broadcast address of each network of the interface. The error is nil
// if at least one send succeeded. Otherwise it joins the errors of all: those of
// [Conn.SendTo], EACCES without [Config.Broadcast], and ENODEV for an interface that is
// missing.
func (c *Conn) SendBroadcast(b []byte, port uint16, ifs ...*net.Interface) ([]GroupSend, error) {
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), port)
	if !c.ok() {
		return nil, errNoSocket("send")
	}
	if c.closed() {
		c.out.CountFailure(net.ErrClosed)
		return nil, c.opError("send", to, net.ErrClosed)
	}
	var outlets []socket.Interface
	all, err := c.sock.Interfaces()
	if err == nil {
		outlets, err = socket.Broadcasters(all, ifs, c.admits)
	}
	if err == nil && len(outlets) == 0 {
		err = fmt.Errorf("no interface is up and can broadcast: %w", sys.ENODEV)
	}
	if err != nil {
		return nil, c.opError("send", to, err)
	}
	sent := make([]GroupSend, len(outlets))
	for i, o := range outlets {
		sent[i] = GroupSend{Name: o.Name, Index: o.Index, Err: c.broadcastBy(b, to, o)}
	}
	return sent, c.noneSent(to, sent)
}

// noneSent returns the joined errors if every interface has one.
func (c *Conn) noneSent(to netip.AddrPort, sent []GroupSend) error {
	errs := make([]error, len(sent))
	for i, s := range sent {
		if s.Err == nil {
			return nil
		}
		errs[i] = fmt.Errorf("%s: %w", s.Name, s.Err)
	}
	return c.opError("send", to, errors.Join(errs...))
}

// broadcastBy sends one datagram to the networks of an interface.
func (c *Conn) broadcastBy(b []byte, to netip.AddrPort, i socket.Interface) error {
	if i.Index == 0 {
		err := fmt.Errorf("no such interface: %w", sys.ENODEV)
		c.out.CountFailure(err)
		return err
	}
	if c.cfg.Network != nil || sys.TakesIPv4Interface() {
		return c.sendBy(b, to, i.Index)
	}
	err := fmt.Errorf("no IPv4 network: %w", sys.EADDRNOTAVAIL)
	for _, p := range i.Addrs {
		if a, ok := socket.BroadcastOf(p); ok {
			if err = c.out.SendNow(&socket.Message{Data: b, To: netip.AddrPortFrom(a, to.Port()), From: p.Addr()}); err != nil {
				return err
			}
		}
	}
	return err
}

// admits reports whether Config.InterfaceFilter selects an interface.
func (c *Conn) admits(ifi net.Interface) (ok bool) {
	if c.cfg.InterfaceFilter == nil {
		return true
	}
	c.guard.Call("InterfaceFilter", func() { ok = c.cfg.InterfaceFilter(&ifi) })
	return ok
}

// sendBy sends one datagram on one interface.
func (c *Conn) sendBy(b []byte, to netip.AddrPort, index int) error {
	msg := socket.Message{Data: b, To: to, IfIndex: index}
	if local := c.LocalAddrPort().Addr(); !local.IsUnspecified() && !local.IsMulticast() {
		msg.From = local // a control message with an interface and no source overrides bind on Linux
	}
	return c.out.SendNow(&msg)
}
