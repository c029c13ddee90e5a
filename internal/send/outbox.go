package send

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/socket"
)

// An Outbox holds the datagrams that Reply and Enqueue have copied, until they are
// sent as one batch. The first of these sends it: the reader at the end of a read,
// a consumer whose queue is empty, an immediate send, or the writer. Its methods
// may be called from any goroutine.
type Outbox struct {
	Sender

	// More is set by the reader: it is dispatching, and other datagrams of the read
	// follow the current one.
	More atomic.Bool
	// pending reports whether anything waits or is being sent. It is written with mu.
	pending atomic.Bool

	sending Turn       // held while a batch is sent, so that batches leave in order
	blocked *gso.Batch // messages for which the kernel had no room; guarded by sending
	left    []socket.Message

	mu    sync.Mutex // guards what follows
	batch *gso.Batch // pending messages; nil: none
	from  source     // of the datagram to which the last message replies
	ended bool       // the socket has stopped: nothing can be added
	pace  pace

	wake chan struct{} // to the writer; nil: there was none yet
	done chan struct{} // closed when the writer has ended; nil: no writer
}

// source identifies datagrams whose replies differ in their payload only. The zero
// source means none.
type source struct {
	peer netip.AddrPort
	like *socket.Message
}

// Init makes o ready for use.
func (o *Outbox) Init(cfg Config) {
	o.Config = cfg
	o.deadline.Store(&deadline{changed: make(chan struct{})})
}

// How long a datagram waits at most, and how long the writer stays without work.
// The documentation promises about a millisecond; timers of an idle process are
// late by up to another.
const (
	flushEvery = 400 * time.Microsecond
	writerIdle = 10 * time.Millisecond
	// burst is the longest time between two Enqueues that become a batch.
	burst = 50 * time.Microsecond
	// fewDatagrams after flushEvery mean that the caller takes long for each.
	fewDatagrams = 4
	// lastChance is how long a stopping socket waits for room for its outbox.
	lastChance = 50 * time.Millisecond
)

// Reply sends b to a peer with the header of like, or copies it, if more work is
// pending. Messages of one like and peer differ in their payload only.
func (o *Outbox) Reply(b []byte, to netip.AddrPort, like *socket.Message, more bool) error {
	if more && o.replyAgain(b, to, like) {
		return nil
	}
	m := *like
	m.Data, m.To = b, to
	if !more {
		return o.finish(&m)
	}
	return o.add(&m, source{to, like}, false)
}

// replyAgain is Reply if the last datagram was a reply of the same kind: nothing needs
// to be checked again.
func (o *Outbox) replyAgain(b []byte, to netip.AddrPort, like *socket.Message) bool {
	o.mu.Lock()
	ok := o.from.like == like && o.from.peer == to && !o.Life.Closed() && o.batch.Append(b)
	o.mu.Unlock()
	return ok
}

// Enqueue copies m for a caller whose further work is unknown, such as a relay. If
// no more work is known to be pending, the first datagram is sent at once. Those
// that follow closely are sent by the writer: the longer a send takes, the more of
// them it finds.
func (o *Outbox) Enqueue(m *socket.Message, more bool) error {
	if more || o.More.Load() {
		return o.add(m, source{}, false)
	}
	o.mu.Lock()
	alone := o.done == nil
	if alone {
		now := time.Now()
		alone, o.pace.last = now.Sub(o.pace.last) > burst, now
	}
	o.mu.Unlock()
	if alone {
		return o.finish(m)
	}
	return o.add(m, source{}, true)
}

// finish sends the pending messages and m as one batch, and returns m's error. If
// it would have to wait for room or for another sender, it leaves m to the writer.
func (o *Outbox) finish(m *socket.Message) error {
	if !o.sending.TryLock() {
		return o.add(m, source{}, true)
	}
	checked := *m
	if err := o.Check(&checked, o.Peer.Load()); err != nil { // the peer cannot change now
		o.sending.Unlock()
		return err
	}
	if o.pending.Load() {
		return o.finishBatch(m, &checked)
	}
	b := gso.Get(false)
	b.Lend(&checked)
	_, failed, cause := o.Transmit(b.Messages, TryOnce)
	o.sending.Unlock()
	b.Put()
	switch {
	case cause != nil:
		return o.add(m, source{}, true)
	case len(failed) > 0:
		return failed[0].Err
	}
	return nil
}

// finishBatch is finish when messages are pending. It unlocks sending.
func (o *Outbox) finishBatch(m, checked *socket.Message) error {
	o.mu.Lock()
	if o.batch == nil || o.batch.Full(len(m.Data)) || o.ended {
		o.mu.Unlock()
		o.sending.Unlock()
		return o.add(m, source{}, true)
	}
	o.batch.Copy(checked)
	o.from = source{}
	own := o.batch.Len() - 1
	o.mu.Unlock()
	failed := o.sendAll(TryOnce)
	blocked := o.blocked != nil
	o.sending.Unlock()
	if blocked {
		o.leaveToWriter()
	}
	var err error
	if n := len(failed); n > 0 && failed[n-1].Index == own {
		failed, err = failed[:n-1], failed[n-1].Err
	}
	o.report(failed)
	return err
}

// add copies m and ensures that it will be sent. It waits while the outbox is full.
// With soon the writer sends it as soon as possible.
func (o *Outbox) add(m *socket.Message, from source, soon bool) error {
	o.mu.Lock()
	if !o.extend(m) {
		if err := o.begin(m, from); err != nil {
			o.mu.Unlock()
			return err
		}
	}
	o.startWriter()
	if soon || o.pace.prompt() {
		o.kick()
	}
	o.mu.Unlock()
	return nil
}

// begin adds m, which extends no other message. It needs mu, and unlocks it meanwhile.
func (o *Outbox) begin(m *socket.Message, from source) error {
	for {
		checked, peer := *m, o.Peer.Load()
		o.mu.Unlock()
		err := o.Check(&checked, peer)
		o.mu.Lock()
		if err != nil {
			return err
		}
		for !o.Life.Closed() && o.batch != nil && o.batch.Full(len(m.Data)) {
			o.mu.Unlock()
			o.Flush()
			o.mu.Lock()
		}
		if o.ended || o.Life.Closed() {
			o.CountFailure(net.ErrClosed)
			return net.ErrClosed
		}
		if !o.gate.closed.Load() && o.Peer.Load() == peer {
			if o.batch == nil {
				o.batch = gso.Get(o.Socket.Segments() > 1)
				o.pending.Store(true)
			}
			o.batch.Copy(&checked)
			o.from = from
			return nil
		}
		o.mu.Unlock()
		o.gate.await() // Hold sends what is pending
		o.mu.Lock()
	}
}

// extend appends m to the last message if it differs in its payload only, so that
// it needs no checks of its own. It needs mu.
func (o *Outbox) extend(m *socket.Message) bool {
	b := o.batch
	if b == nil || !b.Open() || o.Life.Closed() {
		return false
	}
	if peer := o.Peer.Load(); peer != nil {
		return extendTo(peer, b, m)
	}
	return b.Last().SameHeader(m) && b.Append(m.Data)
}

// extendTo is extend on a connected socket.
func extendTo(peer *netip.AddrPort, b *gso.Batch, m *socket.Message) bool {
	if m.To.IsValid() && m.To != *peer {
		return false
	}
	like := *m
	like.To, like.From = netip.AddrPort{}, netip.Addr{}
	return b.Last().SameHeader(&like) && b.Append(m.Data)
}

// SendNow sends the pending messages, and then checks and sends m.
func (o *Outbox) SendNow(m *socket.Message) error {
	o.Flush()
	if !m.To.IsValid() { // to the peer, whichever it is
		return o.checkAndSend(m, o.Peer.Load())
	}
	peer := o.Steady()
	defer o.Leave(peer)
	return o.checkAndSend(m, peer)
}

func (s *Sender) checkAndSend(m *socket.Message, peer *netip.AddrPort) error {
	if err := s.Check(m, peer); err != nil {
		return err
	}
	return s.Send(m)
}

// Flush sends the pending messages. It reports and returns the failures.
func (o *Outbox) Flush() []Failure {
	if !o.pending.Load() || o.Life.Closed() { // then Stop sends it
		return nil
	}
	o.sending.Lock()
	failed := o.sendAll(WaitForRoom)
	o.sending.Unlock()
	o.report(failed)
	return failed
}

// TryFlush is Flush without waiting for room or for another sender. It leaves the rest to
// the writer.
func (o *Outbox) TryFlush() {
	if !o.pending.Load() || o.Life.Closed() {
		return
	}
	if !o.sending.TryLock() {
		o.leaveToWriter()
		return
	}
	failed := o.sendAll(TryOnce)
	blocked := o.blocked != nil
	o.sending.Unlock()
	o.report(failed)
	if blocked {
		o.leaveToWriter()
	}
}

// sendAll sends the blocked and the pending messages. It needs sending.
func (o *Outbox) sendAll(how Patience) (failed []Failure) {
	if o.blocked != nil {
		failed = o.sendBatch(o.blocked, o.left, how)
		for i := range failed {
			failed[i].Index = -1 // of another batch
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
		failed = append(failed, o.sendBatch(b, b.Messages, how)...)
	}
	o.mu.Lock()
	o.pending.Store(o.batch != nil || o.blocked != nil)
	o.mu.Unlock()
	return failed
}

// sendBatch sends ms, the messages of b. It keeps in blocked those that have to
// wait.
func (o *Outbox) sendBatch(b *gso.Batch, ms []socket.Message, how Patience) []Failure {
	left, failed, cause := o.Transmit(ms, how)
	o.blocked, o.left = nil, nil
	switch {
	case cause == nil:
	case how == TryOnce || o.Life.Closed() && !o.final.Load():
		o.blocked, o.left = b, left
		return failed
	default: // the deadline has passed, for all of them
		failed = append(failed, o.failAll(left, b.Len(), cause)...)
	}
	b.Put()
	return failed
}

// report passes failures to Config.Failed. No lock is held.
func (o *Outbox) report(failed []Failure) {
	if len(failed) > 0 {
		o.Failed(failed)
	}
}

// Stop sends the pending messages as far as there is room, and counts the others as
// failed. The writer has ended when it returns.
func (o *Outbox) Stop() {
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
	_ = o.Socket.SetWriteDeadline(time.Now().Add(lastChance))
	failed := o.sendAll(WaitForRoom)
	o.sending.Unlock()
	o.report(failed)
}
