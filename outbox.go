package udp

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/socket"
)

// outbox holds the datagrams that Reply and Enqueue have copied until they are sent
// as one batch, by whoever gets there first: the reader at the end of a read, a
// consumer whose queue is empty, an immediate send, or the writer. Order of locks:
// sending, then mu.
type outbox struct {
	conn     *Conn
	deadline atomic.Pointer[deadline] // of all sends, never nil

	// more is set by the reader: it is dispatching, and other datagrams of the read
	// follow the current one.
	more atomic.Bool
	// pending reports whether anything waits or is being sent. It is written with mu.
	pending atomic.Bool
	// final is set by stop before the last attempt: it alone gives up what it cannot
	// send. Until then a send that the end cuts short leaves its batch to stop.
	final atomic.Bool

	sending turn       // held while a batch is sent, so that batches leave in order
	blocked *gso.Batch // guarded by sending: what the kernel had no room for
	left    []socket.Message

	mu    sync.Mutex // guards what follows
	batch *gso.Batch // what waits; nil: nothing
	from  source     // what the last message replies to
	ended bool       // the socket has stopped: nothing can be added
	last  time.Time  // of the last Enqueue that was sent at once, or see prompt

	slow   bool          // the writer is woken for each datagram: see prompt
	outrun bool          // the writer has sent the few there were, at last
	quick  int           // with slow: how many have followed closely on another
	wake   chan struct{} // to the writer; nil: there was none yet
	done   chan struct{} // closed when the writer has ended; nil: there is none
}

// source identifies the datagrams whose replies differ in their payload only. The
// zero source is none.
type source struct {
	peer   netip.AddrPort
	header *header
}

// How long a datagram waits at most, and how long the writer stays without work. The
// contract says a millisecond; timers of an idle process are late by up to another.
const (
	flushEvery = 400 * time.Microsecond
	writerIdle = 10 * time.Millisecond
	// burst is how close two Enqueues are at most that become a batch.
	burst = 50 * time.Microsecond
	// fewDatagrams, after flushEvery, are those of a caller that takes long for each.
	fewDatagrams = 4
	// lastChance is how long a stopping socket waits for room for its outbox.
	lastChance = 50 * time.Millisecond
)

// reply sends b to the peer of a datagram, or copies it.
func (o *outbox) reply(b []byte, to netip.AddrPort, p *packet) error {
	more := false
	if q := p.queue; q == nil {
		more = o.more.Load()
	} else if more = len(q.ch) > 0; more && q.replied.Load() != o.conn {
		q.replied.Store(o.conn)
	}
	if more && o.replyAgain(b, to, p.header) {
		return nil
	}
	m := p.header.reply(b, to)
	if !more {
		return o.finish(&m)
	}
	return o.add(&m, source{to, p.header}, false)
}

// replyAgain is reply for a datagram of the same packet as the one before, or of one
// like it: nothing needs to be checked again.
func (o *outbox) replyAgain(b []byte, to netip.AddrPort, h *header) bool {
	o.mu.Lock()
	ok := o.from.header == h && o.from.peer == to && !o.conn.closed() && o.batch.Append(b)
	o.mu.Unlock()
	return ok
}

// enqueue is reply for a caller whose work is not known, as a relay's is. The first
// datagram leaves at once; those that follow closely are sent by the writer, which
// finds more of them the longer a send takes.
func (o *outbox) enqueue(m *socket.Message) error {
	if o.more.Load() || o.conn.consumer.waiting() {
		return o.add(m, source{}, false)
	}
	o.mu.Lock()
	alone := o.done == nil
	if alone {
		now := time.Now()
		alone, o.last = now.Sub(o.last) > burst, now
	}
	o.mu.Unlock()
	if alone {
		return o.finish(m)
	}
	return o.add(m, source{}, true)
}

// finish sends m after what waits, in the same batch, and returns its error. If it
// would have to wait for room or for another sender, it leaves m to the writer.
func (o *outbox) finish(m *socket.Message) error {
	c := o.conn
	if err := c.check(m); err != nil {
		return err
	}
	if !o.sending.TryLock() {
		return o.add(m, source{}, true)
	}
	if o.pending.Load() {
		return o.finishBatch(m)
	}
	b := gso.Get(false)
	b.Lend(m)
	_, failed, cause := c.transmit(b.Messages, tryOnce)
	o.sending.Unlock()
	b.Put()
	switch {
	case cause != nil:
		return o.add(m, source{}, true)
	case len(failed) > 0:
		return c.opError("send", m.To, failed[0].err)
	}
	return nil
}

// finishBatch is finish when something waits already. It unlocks sending.
func (o *outbox) finishBatch(m *socket.Message) error {
	o.mu.Lock()
	if o.batch == nil || o.batch.Full(len(m.Data)) || o.ended {
		o.mu.Unlock()
		o.sending.Unlock()
		return o.add(m, source{}, true)
	}
	o.batch.Copy(m)
	o.from = source{}
	own := o.batch.Len() - 1
	o.mu.Unlock()
	failed := o.sendAll(tryOnce)
	blocked := o.blocked != nil
	o.sending.Unlock()
	if blocked {
		o.leaveToWriter()
	}
	var err error
	if n := len(failed); n > 0 && failed[n-1].index == own {
		failed, err = failed[:n-1], failed[n-1].err
	}
	o.report(failed)
	return o.conn.opError("send", m.To, err)
}

// add copies m and makes sure that somebody sends it. It waits while the outbox is
// full. With soon the writer is to send it as soon as it can.
func (o *outbox) add(m *socket.Message, from source, soon bool) error {
	c := o.conn
	o.mu.Lock()
	if !o.extend(m) {
		o.mu.Unlock()
		if err := c.check(m); err != nil {
			return err
		}
		o.mu.Lock()
		for !c.closed() && o.batch != nil && o.batch.Full(len(m.Data)) {
			o.mu.Unlock()
			o.flush()
			o.mu.Lock()
		}
		if o.ended || c.closed() {
			o.mu.Unlock()
			c.countFailure(net.ErrClosed)
			return c.opError("send", m.To, net.ErrClosed)
		}
		if o.batch == nil {
			o.batch = gso.Get(c.sock.Segments() > 1)
			o.pending.Store(true)
		}
		o.batch.Copy(m)
		o.from = from
	}
	o.startWriter()
	if soon || o.prompt() {
		o.kick()
	}
	o.mu.Unlock()
	return nil
}

// extend appends m to the last message if it differs in its payload only: what was
// checked for that one holds for m, too. It needs mu.
func (o *outbox) extend(m *socket.Message) bool {
	b, c := o.batch, o.conn
	if b == nil || !b.Open() || c.closed() {
		return false
	}
	if peer := c.peer.current.Load(); peer != nil {
		if m.To.IsValid() && m.To != *peer {
			return false
		}
		m.To, m.From = netip.AddrPort{}, netip.Addr{}
	}
	return b.Last().SameHeader(m) && b.Append(m.Data)
}

// flush sends what waits and returns the first error.
func (o *outbox) flush() error {
	if !o.pending.Load() || o.conn.closed() { // then stop sends it
		return nil
	}
	o.sending.Lock()
	failed := o.sendAll(waitForRoom)
	o.sending.Unlock()
	o.report(failed)
	if len(failed) > 0 {
		return failed[0].err
	}
	return nil
}

// readDone is flush for the reader, which never waits for room: that is left to
// the writer.
func (o *outbox) readDone() {
	if !o.pending.Load() || o.conn.closed() {
		return
	}
	if !o.sending.TryLock() {
		o.leaveToWriter()
		return
	}
	failed := o.sendAll(tryOnce)
	blocked := o.blocked != nil
	o.sending.Unlock()
	o.report(failed)
	if blocked {
		o.leaveToWriter()
	}
}

// sendAll sends what was blocked and what waits. It needs sending.
func (o *outbox) sendAll(how patience) (failed []sendFailure) {
	if o.blocked != nil {
		failed = o.transmit(o.blocked, o.left, how)
		for i := range failed {
			failed[i].index = -1 // of another batch
		}
		if o.blocked != nil {
			return failed
		}
	}
	o.mu.Lock()
	b := o.batch
	o.batch, o.from = nil, source{}
	o.mu.Unlock()
	if b != nil {
		failed = append(failed, o.transmit(b, b.Messages, how)...)
	}
	o.mu.Lock()
	o.pending.Store(o.batch != nil || o.blocked != nil)
	o.mu.Unlock()
	return failed
}

// transmit sends ms, which are b's, and keeps in blocked what has to wait.
func (o *outbox) transmit(b *gso.Batch, ms []socket.Message, how patience) []sendFailure {
	c := o.conn
	left, failed, cause := c.transmit(ms, how)
	o.blocked, o.left = nil, nil
	switch {
	case cause == nil:
	case how == tryOnce || c.closed() && !o.final.Load():
		o.blocked, o.left = b, left
		return failed
	default: // the deadline has passed, for all of them
		failed = append(failed, c.failAll(left, b.Len(), cause)...)
	}
	b.Put()
	return failed
}

// report tells everybody whom it concerns about datagrams whose sends have returned
// long since. No lock is held: OnSendError may send.
func (o *outbox) report(failed []sendFailure) {
	c := o.conn
	for i := range failed {
		f := &failed[i]
		f.err = c.opError("send", f.to, f.err)
		c.log.warn(c, "udp: send failed", f.err)
		if c.cfg.OnSendError != nil {
			c.guard("OnSendError", func() { c.cfg.OnSendError(c, f.peer(c), f.err) })
		}
	}
}

// hold sends what waits, and runs f while nothing can be added or sent by others.
func (o *outbox) hold(f func() error) error {
	o.sending.Lock()
	failed := o.sendAll(waitForRoom)
	o.mu.Lock()
	err := f()
	o.mu.Unlock()
	o.sending.Unlock()
	o.report(failed)
	return err
}

// stop sends what was added before the socket closed, as far as there is room, and
// counts the rest. The writer has ended when it returns.
func (o *outbox) stop() {
	o.mu.Lock()
	o.ended = true
	writer := o.done
	o.mu.Unlock()
	if writer != nil {
		<-writer
	}
	if !o.pending.Load() {
		return
	}
	o.sending.Lock()
	o.final.Store(true)
	_ = o.conn.sock.SetWriteDeadline(time.Now().Add(lastChance))
	failed := o.sendAll(waitForRoom)
	o.sending.Unlock()
	o.report(failed)
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
	s, err := m.message()
	if err != nil {
		c.countFailure(err)
		return c.opError("send", m.To, err)
	}
	s.Control = bytes.Clone(s.Control)
	return c.out.enqueue(&s)
}

// Flush sends what [Conn.Enqueue] and [Datagram.Reply] have copied and returns its
// first error.
func (c *Conn) Flush() error {
	if !c.ok() {
		return errNoSocket("send")
	}
	return c.out.flush()
}
