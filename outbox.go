package udp

import (
	"bytes"
	"net/netip"

	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
)

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
		c.guard.Call("OnSendError", func() { c.cfg.OnSendError(c, c.peer.Or(f.To), err) })
	}
}
