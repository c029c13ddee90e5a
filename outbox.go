package udp

import (
	"bytes"
	"net/netip"

	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
)

// Enqueue copies m into the outbox and returns. The outbox is sent in order, as one
// batch, as soon as no more work is pending: at the end of a read, or when the
// consumers of a [Queue] or of [Workers] have handled everything that waits. It is
// sent within about a millisecond in any case. If no work is pending, Enqueue sends m
// at once. Enqueue waits while the outbox is full (1,024 datagrams or 256 KiB).
//
// When the queue of the outgoing interface is full (ENOBUFS), an enqueued datagram is
// lost and counted, as with a plain socket. Waiting would delay the datagrams for
// other interfaces.
//
// Enqueue may be called from any goroutine, including a Handler of this or of another
// socket, as in a relay. The datagrams of one goroutine leave in the order of its
// calls of Enqueue, Reply, SendTo, SendBatch and SendGroup.
//
// Enqueue returns errors that are known at once, like [Conn.SendTo]. Later errors are
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
	} else if more = len(q.C) > 0; more && q.replied.Load() != c {
		q.replied.Store(c)
	}
	if err := c.out.Reply(b, to, &p.header.reply, more); err != nil {
		return c.opError("send", to, err)
	}
	return nil
}

// Flush sends the outbox, which [Conn.Enqueue] and [Datagram.Reply] fill, and returns
// its first error.
func (c *Conn) Flush() error {
	if !c.ok() {
		return errNoSocket("send")
	}
	if failed := c.out.Flush(); len(failed) > 0 {
		return c.opError("send", failed[0].To, failed[0].Err)
	}
	return nil
}

// sendsFailed reports errors of datagrams after Enqueue or Reply has returned.
func (c *Conn) sendsFailed(failed []send.Failure) {
	for _, f := range failed {
		err := c.opError("send", f.To, f.Err)
		c.guard.Warn("udp: send failed", err)
		if c.cfg.OnSendError == nil {
			continue
		}
		c.guard.Call("OnSendError", func() { c.cfg.OnSendError(c, c.peer.Or(f.To), err) })
	}
}
