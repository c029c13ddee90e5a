package udp

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
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
	c.out.Flush()
	if err := c.out.Check(m); err != nil {
		return err
	}
	return c.out.Send(m)
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
	b := gso.Get(c.sock.Segments() > 1)
	defer b.Put()
	var failed *BatchError
	for next := 0; next < len(ms); {
		n, bad := c.fill(b, ms[next:])
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

// fill puts as many of ms into b as there is room for, or up to one that can't be
// sent. Messages that differ in their payload only need no second look.
func (c *Conn) fill(b *gso.Batch, ms []Message) (n int, bad error) {
	for n < len(ms) && b.Len() < gso.MaxDatagrams {
		like := &ms[n]
		var m socket.Message
		err := like.message(&m)
		if err == nil {
			err = c.out.Address(&m)
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

// SendContext sends m as SendTo does, but waits until ctx ends for room in the buffer
// of the socket, or in the queue of the outgoing interface. The write deadline does not
// apply, and SendContext does not wait for sends of other goroutines. If ctx ends
// first, the error wraps ctx's error, and the datagram has not been sent;
// [SendFailures].Deadline counts it. SendContext tries at least once: with a context
// that has ended, it sends if it need not wait.
//
// While it waits, it tries again at least every few milliseconds. Other sends may take
// the room before it. On Windows, AIX and Plan 9 a send that has begun waits for room.
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

// Enqueue copies m and returns; m is sent soon, together with what else was
// enqueued. The outbox is sent in order as soon as no more work is pending: at the
// end of a read, when the consumer of a [Queue] or of [Workers] has handled all that
// waits, or else within about a millisecond. If there is nothing to wait for, m is
// sent at once. Enqueue waits while the outbox (1,024 datagrams or 256 KiB) is full.
//
// When the queue of the outgoing interface is full (ENOBUFS), an enqueued datagram is
// not sent, as with a plain socket. Waiting would delay the datagrams for other
// interfaces.
//
// Enqueue may be called from any goroutine: in a Handler of this socket or of
// another one, as a relay does, and elsewhere. What one goroutine sends leaves in
// the order of its calls, also through Reply, SendTo, SendBatch and SendGroup.
//
// Errors that are known at once are returned, as by [Conn.SendTo]. Later ones are
// counted in [Stats.SendErrors], logged to [Config.Logger] and passed to
// [Config.OnSendError].
func (c *Conn) Enqueue(m Message) error {
	if !c.ok() {
		return errNoSocket("send")
	}
	var s socket.Message
	err := m.message(&s)
	if err != nil {
		c.out.CountFailure(err)
	} else {
		s.Control = bytes.Clone(s.Control)
		err = c.out.Enqueue(&s, c.consumer.hasQueued())
	}
	if err != nil {
		return c.opError("send", m.To, err)
	}
	return nil
}

// reply sends b to the peer of a datagram, or copies it.
func (c *Conn) reply(b []byte, to netip.AddrPort, p *packet) error {
	more := false
	if q := p.queue; q == nil {
		more = c.out.More.Load()
	} else if more = len(q.ch) > 0; more && q.replied.Load() != c {
		q.replied.Store(c)
	}
	if err := c.out.Reply(b, to, &p.header.reply, more); err != nil {
		return c.opError("send", to, err)
	}
	return nil
}

// Flush sends what [Conn.Enqueue] and [Datagram.Reply] have copied and returns its
// first error.
func (c *Conn) Flush() error {
	if !c.ok() {
		return errNoSocket("send")
	}
	if failed := c.out.Flush(); len(failed) > 0 {
		return c.opError("send", failed[0].To, failed[0].Err)
	}
	return nil
}

// sendsFailed reports datagrams whose sends have returned long since.
func (c *Conn) sendsFailed(failed []send.Failure) {
	for _, f := range failed {
		err := c.opError("send", f.To, f.Err)
		c.guard.Warn("udp: send failed", err)
		if c.cfg.OnSendError == nil {
			continue
		}
		if peer := c.peer.current.Load(); !f.To.IsValid() && peer != nil {
			f.To = *peer
		}
		c.guard.Call("OnSendError", func() { c.cfg.OnSendError(c, f.To, err) })
	}
}

// SetWriteDeadline bounds the waiting of sends, also of those that wait now; a
// zero t means no deadline. A deadline in the past makes sends fail even if they
// need not wait, as in package net.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if !c.ok() {
		return errNoSocket("set")
	}
	c.out.Flush()
	return c.opError("set", netip.AddrPort{}, c.out.SetDeadline(t))
}
