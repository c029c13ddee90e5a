package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/udpkit/udp/internal/mcast"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// SendTo sends b, which may be empty and is only read while SendTo runs, to one
// address. It waits while the kernel's buffer is full, until the write deadline.
// On a connected socket only its peer can be sent to; another address is EISCONN.
//
// An error left by an older datagram is never charged to this one: the send is
// repeated. Errors: [ErrFamily] and [ErrTooLarge] before any system call,
// [net.ErrClosed], [os.ErrDeadlineExceeded], errnos of the system, all in a
// [*net.OpError].
func (c *Conn) SendTo(b []byte, to netip.AddrPort) error {
	return c.sendFrom(b, to, netip.Addr{}, 0)
}

func (c *Conn) sendFrom(b []byte, to netip.AddrPort, from netip.Addr, ecn ECN) error {
	var err error
	if c.gathers() && c.reader.gatherMore(b, to, from, ecn) {
		if err = c.reader.flushLast(); err == nil {
			return nil
		}
		return c.opError("send", to, err)
	}
	m := socket.Message{Data: b, To: to, From: from, ECN: uint8(ecn)}
	if err = c.address(&m); err == nil {
		err = c.send(m)
	} else {
		c.countFailure(err)
	}
	return c.opError("send", to, err)
}

// SendBatch sends the messages in order, with fewer system calls where the
// system can. It returns how many the kernel took; the error, nil if that is
// all, is about the message after those, and the rest was not tried. Otherwise
// it is as [Conn.SendTo].
func (c *Conn) SendBatch(ms []Message) (int, error) {
	c.flushFirst()
	o := c.newOutbox()
	defer o.giveBack()
	sent := 0
	for sent < len(ms) {
		_, bad := c.fill(o, ms[sent:])
		n, err := c.sendOut(o)
		if sent += n; err == nil && bad != nil {
			err = bad
			c.countFailure(err)
		}
		if err != nil {
			return sent, c.opError("send", ms[sent].To, err)
		}
	}
	return sent, nil
}

// fill gathers as many of ms as there is room for, or up to one that can't be
// sent.
func (c *Conn) fill(o *outbox, ms []Message) (n int, bad error) {
	for n < len(ms) && o.count < maxGathered {
		m := socket.Message{Data: ms[n].Data, To: ms[n].To, From: ms[n].From, ECN: uint8(ms[n].ECN & 3)}
		if err := c.address(&m); err != nil {
			return n, err
		}
		if !o.extend(&m) {
			o.add(m, true)
		}
		n++
		n += o.extendBy(&ms[n-1], ms[n:])
	}
	return n, nil
}

// sendOut sends what o holds, up to one that fails.
func (c *Conn) sendOut(o *outbox) (sent int, err error) {
	for ms := o.messages; len(ms) > 0; {
		if c.closed() {
			c.countFailure(net.ErrClosed)
			return sent, net.ErrClosed
		}
		n, err := c.sock.SendBatch(ms)
		sent += n
		if ms = c.skip(ms, n, true); err == nil {
			continue
		}
		// The one that failed goes the way of a single one, with its repetitions.
		if err = c.sendAgain(first(ms), err); err != nil {
			return sent, err
		}
		sent++
		ms = c.skip(ms, 1, false)
	}
	o.reset()
	return sent, nil
}

// Flush sends at once what the calling callback has gathered. While other
// datagrams of the same read wait to be handled, what Received sends with SendTo,
// Send and Reply is copied and leaves, in order, when all of them have been
// handled or 1,024 datagrams have come together; Flush is for callbacks that
// run long after they have sent. Its error is of the first datagram that
// failed. Without Flush the error of a datagram that had to wait goes to
// [Config.Logger] only; it is counted in any case. Outside callbacks nothing is
// ever gathered, and Flush does nothing.
func (c *Conn) Flush() error {
	if !c.inCallback() {
		return nil
	}
	first, last := c.reader.flushAll()
	if last != first {
		c.tell(last)
	}
	if first != nil {
		return c.opError("send", netip.AddrPort{}, first)
	}
	return nil
}

// Payloads can't be longer than this: the length field of UDP counts its own
// header of 8 bytes (RFC 768), that of IPv4 also the 20 of IPv4 (RFC 791).
const (
	maxPayloadIPv4 = 65535 - 8 - 20
	maxPayloadIPv6 = 65535 - 8
)

// address brings a message into the form the socket wants, or says why it can't
// be sent. Nothing here asks the system.
func (c *Conn) address(m *socket.Message) error {
	peer := c.peer.Load()
	if m.IfIndex == 0 && c.groups.Stranded(m.To, peer) {
		return mcast.ErrStranded
	}
	if peer != nil {
		if m.To.IsValid() && m.To != *peer {
			if to, err := c.named(unmap(m.To)); err != nil || to != *peer {
				return os.NewSyscallError("sendto", sys.EISCONN)
			}
		}
		m.To, m.From = netip.AddrPort{}, netip.Addr{}
		return checkSize(len(m.Data), peer.Addr())
	}
	to := m.To.Addr()
	switch {
	case !to.IsValid():
		return &net.AddrError{Err: "missing address"}
	case to.Is4In6():
		to = to.Unmap()
		m.To = netip.AddrPortFrom(to, m.To.Port())
	}
	if m.To.Port() == 0 {
		return &net.AddrError{Err: "port 0 can't be sent to"} // Addr is the net.OpError's
	}
	if m.From.IsValid() {
		m.From = m.From.Unmap()
		if m.From.Is4() != to.Is4() {
			return ErrFamily
		}
	}
	if !c.family.Has(to) {
		return ErrFamily
	}
	if zone := to.Zone(); zone != "" {
		if _, ok := c.sock.Zone(zone); !ok {
			return fmt.Errorf("no interface %q: %w", zone, sys.ENODEV)
		}
	}
	return checkSize(len(m.Data), to)
}

func checkSize(n int, to netip.Addr) error {
	limit := maxPayloadIPv6
	if to.Is4() {
		limit = maxPayloadIPv4
	}
	if n > limit {
		return &SizeError{Size: n, Max: limit}
	}
	return nil
}

// send sends one message.
func (c *Conn) send(m socket.Message) error {
	if c.closed() {
		c.countFailure(net.ErrClosed)
		return net.ErrClosed
	}
	if c.gathers() {
		return c.reader.gather(m)
	}
	return c.sendNow(m)
}

// sendNow is send for what must not wait.
func (c *Conn) sendNow(m socket.Message) error {
	if err := c.sock.Send(m); err != nil {
		return c.sendAgain(m, err)
	}
	c.stats.sent.Add(1)
	c.stats.sentBytes.Add(uint64(len(m.Data)))
	return nil
}

// failed counts a datagram that was not sent and gives its error the form that
// callers know.
func (c *Conn) failed(m socket.Message, err error) error {
	switch sys.Classify(err) {
	case sys.Deadline:
		if c.closed() { // Close ends waiting sends with a deadline
			err = net.ErrClosed
		}
	case sys.TooLarge:
		err = c.tooLarge(m)
	}
	c.countFailure(err)
	return err
}

// tooLarge finds out what would have fitted.
func (c *Conn) tooLarge(m socket.Message) error {
	e := &SizeError{Size: len(m.Data), MTU: c.sock.MTU(m.To)}
	to := m.To.Addr()
	if peer := c.peer.Load(); peer != nil {
		to = peer.Addr()
	}
	header := headerIPv6
	if to.Is4() {
		header = headerIPv4
	}
	e.Max = max(0, e.MTU-header)
	return e
}

// Headers of UDP (RFC 768) and of IP without options (RFC 791, RFC 8200), bytes.
const (
	headerIPv4 = 20 + 8
	headerIPv6 = 40 + 8
)

func (c *Conn) countFailure(err error) {
	f := failOther
	switch class := sys.Classify(err); {
	case errors.Is(err, ErrTooLarge):
		f = failTooLarge
	case errors.Is(err, ErrFamily), isAddrError(err):
		f = failFamily
	case class == sys.NoBuffers:
		f = failNoBuffers
	case errors.Is(err, os.ErrPermission): // EACCES may have been a report, but no more
		f = failDenied
	case class == sys.Unreachable, class == sys.Report, class == sys.Down:
		f = failUnreachable
	case class == sys.Deadline:
		f = failDeadline
	case class == sys.Closed:
		f = failClosed
	}
	c.stats.failed[f].Add(1)
}

func isAddrError(err error) bool {
	_, ok := errors.AsType[*net.AddrError](err)
	return ok
}

// errnoOf returns the errno inside err, or err.
func errnoOf(err error) error {
	if errno, ok := errors.AsType[sys.Errno](err); ok {
		return errno
	}
	return err
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
