package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/mcast"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
	"github.com/udpkit/udp/internal/sys"
)

// SendTo sends b, which may be empty and is only read while SendTo runs, to one
// address. It sends at once, wherever it is called, and returns the kernel's result. It
// waits while the kernel's buffer is full, until the write deadline. A connected socket
// can send to its peer only; for another address the error is EISCONN.
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

// sendNow sends m after what was enqueued before.
func (c *Conn) sendNow(m *socket.Message) error {
	to := m.To
	return c.opError("send", to, c.sendOne(m))
}

// sendOne is sendNow without the net.OpError.
func (c *Conn) sendOne(m *socket.Message) error {
	c.out.flush()
	if err := c.addressOpen(m); err != nil {
		c.countFailure(err)
		return err
	}
	return c.send(*m)
}

// SendBatch sends the messages in order, with fewer system calls where the system
// can, and returns how many the kernel took. It goes on after messages that cannot
// be sent: then the error is a [*BatchError], which lists them. It ends early only
// when the socket is closed or the write deadline has passed. Otherwise it is as
// [Conn.SendTo].
func (c *Conn) SendBatch(ms []Message) (sent int, err error) {
	if !c.ok() {
		return 0, errNoSocket("send")
	}
	c.out.flush()
	if c.closed() {
		if len(ms) == 0 {
			return 0, c.opError("send", netip.AddrPort{}, net.ErrClosed)
		}
		c.countFailure(net.ErrClosed)
		failed := new(BatchError).add(c, 0, ms[0].To, net.ErrClosed)
		failed.Untried = len(ms) - 1
		return 0, failed
	}
	b := gso.Get(c.sock.Segments() > 1)
	defer b.Put()
	var failed *BatchError
	for next := 0; next < len(ms); {
		n, bad := c.fill(b, ms[next:])
		left, some, cause := c.transmit(b.Messages, patient)
		sent += n - len(some)
		for _, f := range some {
			failed = failed.add(c, next+f.index, f.to, f.err)
		}
		if cause != nil {
			untried := 0
			for i := range left {
				untried += left[i].Datagrams()
			}
			sent -= untried
			c.countFailure(cause)
			at := next + n - untried
			failed = failed.add(c, at, ms[at].To, cause)
			failed.Untried = len(ms) - at - 1
			break
		}
		if next += n; bad != nil {
			c.countFailure(bad)
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

// fill puts as many of ms into b as there is room for, or up to one that can't be
// sent. Messages that differ in their payload only need no second look.
func (c *Conn) fill(b *gso.Batch, ms []Message) (n int, bad error) {
	for n < len(ms) && b.Len() < gso.MaxDatagrams {
		like := &ms[n]
		m, err := like.message()
		if err == nil {
			err = c.address(&m)
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

// Payloads can't be longer than this: the length field of UDP counts its own
// header of 8 bytes (RFC 768), that of IPv4 also the 20 of IPv4 (RFC 791).
const (
	maxPayloadIPv4 = 65535 - 8 - 20
	maxPayloadIPv6 = 65535 - 8
)

// check is address for a message that will be sent later.
func (c *Conn) check(m *socket.Message) error {
	to := m.To
	if err := c.addressOpen(m); err != nil {
		c.countFailure(err)
		return c.opError("send", to, err)
	}
	return nil
}

// addressOpen is address, on a socket that is open: on a closed one nothing else counts.
func (c *Conn) addressOpen(m *socket.Message) error {
	if c.closed() {
		return net.ErrClosed
	}
	return c.address(m)
}

// address brings a message into the form the socket wants, or says why it can't be
// sent. It makes no system call.
func (c *Conn) address(m *socket.Message) error {
	peer := c.peer.current.Load()
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
		return &net.AddrError{Err: "cannot send to port 0"} // the address is the net.OpError's
	}
	if to.IsUnspecified() {
		// The kernel would send it to the loopback address.
		return &net.AddrError{Err: "cannot send to the unspecified address"}
	}
	if m.From.IsValid() {
		m.From = m.From.Unmap()
		if m.From.Is4() != to.Is4() {
			return ErrFamily
		}
		// The interface of a link-local source, where nothing else names one.
		switch zone := m.From.Zone(); {
		case zone == "":
		case m.IfIndex != 0, to.Zone() != "", !m.From.IsLinkLocalUnicast():
			m.From = m.From.WithZone("")
		default:
			if _, ok := c.sock.Zone(zone); !ok {
				return fmt.Errorf("no interface %q: %w", zone, sys.ENODEV)
			}
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

// send sends one message that address has seen.
func (c *Conn) send(m socket.Message) error {
	if c.closed() {
		c.countFailure(net.ErrClosed)
		return net.ErrClosed
	}
	if err := c.sock.Send(m); err != nil {
		if err, _ = c.sendAgain(m, err, patient); err != nil {
			c.countFailure(err)
		}
		return err
	}
	c.stats.CountSent(1, len(m.Data))
	return nil
}

// tooLarge finds out what would have fitted.
func (c *Conn) tooLarge(m socket.Message) *SizeError {
	e := &SizeError{Size: len(m.Data), MTU: c.sock.MTU(m.To)}
	to := m.To.Addr()
	if peer := c.peer.current.Load(); peer != nil {
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
	f := stats.FailOther
	switch class := sys.Classify(err); {
	case errors.Is(err, ErrTooLarge):
		f = stats.FailTooLarge
	case errors.Is(err, ErrFamily), isAddrError(err):
		f = stats.FailFamily
	case class == sys.NoBuffers:
		f = stats.FailNoBuffers
	case errors.Is(err, os.ErrPermission): // EACCES may have been a report, but no more
		f = stats.FailDenied
	case class == sys.Unreachable, class == sys.Report, class == sys.Down:
		f = stats.FailUnreachable
	case class == sys.Deadline, gaveUp(err):
		f = stats.FailDeadline
	case class == sys.Closed:
		f = stats.FailClosed
	}
	c.stats.Failed[f].Add(1)
}

func isAddrError(err error) bool {
	_, ok := errors.AsType[*net.AddrError](err)
	return ok
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
