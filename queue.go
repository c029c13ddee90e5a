package udp

import (
	"context"
	"fmt"
	"iter"
	"math"
	"net"
	"os"
	"sync"

	"github.com/udpkit/udp/internal/bounded"
	"github.com/udpkit/udp/internal/packetconn"
	"github.com/udpkit/udp/internal/socket"
)

// Overflow selects what happens to a datagram for which there is no room.
type Overflow int

const (
	// Block waits for room. Meanwhile datagrams wait in the kernel's buffer, and the
	// kernel drops those that do not fit (Stats.KernelDrops).
	Block Overflow = iota
	// DropNewest drops the datagram that has just been read.
	DropNewest
	// DropOldest drops the one that has waited longest.
	DropOldest
)

// String returns the name of the policy.
func (o Overflow) String() string {
	switch o {
	case Block:
		return "Block"
	case DropNewest:
		return "DropNewest"
	case DropOldest:
		return "DropOldest"
	}
	return fmt.Sprintf("Overflow(%d)", int(o))
}

func (o Overflow) valid() bool { return o >= Block && o <= DropOldest }

// Queue is a [Handler] that puts datagrams into a channel. It may serve several
// sockets. It ends when all of them have stopped; from then on it drops the datagrams
// that a Handler passes on to it.
//
// Consumers call [Queue.Receive], or range over [Queue.All] or [Queue.Datagrams].
// Several goroutines may consume one Queue.
//
// A datagram belongs to the consumer that received it: see [Datagram.Release].
//
// A waiting datagram takes more memory than its payload. The first 64 keep the buffers
// that they were read into, 64 KiB each. Further ones are copied, unless many of them
// share one buffer. A copy takes 2.5 KiB for a payload of up to 2 KiB, 18 KiB for up to
// 16 KiB, and 72 KiB for longer ones. So 1,000 datagrams of 1 to 2,048 bytes take 7
// MiB, and 1,000 of 2,049 bytes 21 MiB.
type Queue struct {
	fifo     fifo
	counters fifoCounters
	refusals bounded.Chan[*Refusal]
	done     chan struct{}

	mu      sync.Mutex // guards what follows
	sockets int
	ended   bool
	err     error
}

var _ Handler = (*Queue)(nil)

// NewQueue makes a Queue with room for capacity datagrams, at least one. The channel
// takes 64 bytes for each of them from the start. NewQueue panics if overflow is none
// of the three policies.
func NewQueue(capacity int, overflow Overflow) *Queue {
	if !overflow.valid() {
		panic("udp: NewQueue: invalid " + overflow.String())
	}
	capacity = max(capacity, 1)
	q := &Queue{done: make(chan struct{})}
	q.refusals.Init(min(capacity, maxRefusals), bounded.DropOldest, (*Refusal).lost)
	q.fifo.init(capacity, overflow, wholeBuffers, &q.counters)
	return q
}

const maxRefusals = 256

var errZeroQueue = fmt.Errorf("queue must be created by NewQueue: %w", os.ErrInvalid)

// Receive waits for the next datagram, in the order of arrival, and returns it. A
// [*Refusal] as the error reports an ICMP error; call Receive again after it. Other
// errors are ctx's error, and after the end of the Queue [net.ErrClosed] or the error
// that stopped its socket. Waiting datagrams are returned first, even if ctx is done
// or the Queue has ended.
func (q *Queue) Receive(ctx context.Context) (Datagram, error) {
	if q == nil || q.done == nil {
		return Datagram{}, errZeroQueue
	}
	if len(q.refusals.C) > 0 { // before ctx, like the datagrams
		select {
		case r, ok := <-q.refusals.C:
			if ok {
				return Datagram{}, r
			}
		case d, ok := <-q.fifo.C:
			return q.received(d, ok)
		default:
		}
	}
	select {
	case d, ok := <-q.fifo.C:
		return q.received(d, ok)
	default:
		q.fifo.flushReplies()
	}
	refusals := q.refusals.C
	for {
		select {
		case r, ok := <-refusals:
			if ok {
				return Datagram{}, r
			}
			refusals = nil // ended: the datagrams come first
		case d, ok := <-q.fifo.C:
			return q.received(d, ok)
		case <-ctx.Done():
			return Datagram{}, ctx.Err()
		}
	}
}

// received returns a datagram, or after the last one an ICMP error or why there are no more.
func (q *Queue) received(d Datagram, ok bool) (Datagram, error) {
	if ok {
		return d, nil
	}
	if r, ok := <-q.refusals.C; ok {
		return d, r
	}
	return d, q.reason()
}

// reason returns why the Queue has ended.
func (q *Queue) reason() error {
	if err := q.Err(); err != nil {
		return err
	}
	return net.ErrClosed
}

// All returns an iterator over the datagrams. It ends when the Queue has ended, which
// [Queue.Done] and [Queue.Err] report, or when ctx is done, after the datagrams that wait
// then. ICMP errors stay in [Queue.Refusals].
func (q *Queue) All(ctx context.Context) iter.Seq[Datagram] {
	return func(yield func(Datagram) bool) {
		done := ctx.Done()
		for left := math.MaxInt; left > 0; left-- {
			select {
			case <-done:
				left, done = len(q.fifo.C), nil // those that arrive later would never end
			default:
			}
			var d Datagram
			ok := false
			select {
			case d, ok = <-q.fifo.C:
			default:
				q.fifo.flushReplies()
				select {
				case d, ok = <-q.fifo.C:
				case <-ctx.Done():
				}
			}
			if !ok || !yield(d) {
				return
			}
		}
	}
}

// Datagrams returns the channel. It is closed once the last of the Queue's sockets has
// stopped. The datagrams that are still in it can be received.
func (q *Queue) Datagrams() <-chan Datagram { return q.fifo.C }

// Refusals returns a channel of ICMP errors. It keeps the newest 256, or fewer if the
// Queue's capacity is less, so a program may ignore it. It is closed together with
// Datagrams.
func (q *Queue) Refusals() <-chan *Refusal { return q.refusals.C }

// Done returns a channel that is closed once the last of the Queue's sockets has
// stopped.
func (q *Queue) Done() <-chan struct{} { return q.done }

// Err returns the first error that stopped one of the sockets; nil if none did.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Stats returns the counters of the Queue. It may be called at any time.
func (q *Queue) Stats() QueueStats {
	return QueueStats{
		Dropped: q.counters.dropped.Load(), Received: q.counters.received.Load(),
		Waiting: len(q.fifo.C), Peak: q.counters.peak.Load(),
	}
}

// QueueStats are the counters of one [Queue]. Its consumers have taken Received -
// Dropped - Waiting datagrams.
type QueueStats struct {
	Received uint64 // datagrams given to the Queue
	Dropped  uint64 // of those, dropped because there was no room, or the Queue had ended
	Peak     uint64 // most that waited at the same time
	Waiting  int    // waiting now
}

// All is like [Stats.All].
func (s QueueStats) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		_ = yield("received", float64(s.Received)) && yield("dropped", float64(s.Dropped)) &&
			yield("peak", float64(s.Peak)) && yield("waiting", float64(s.Waiting))
	}
}

// PacketConn returns a net.PacketConn that reads from q and sends on c. It lets
// several protocols share a port, such as STUN, DTLS and QUIC, which RFC 7983
// distinguishes by the first byte. The Handler of c passes the datagrams of one
// protocol on to q. For a library with a port of its own, use [Config.ListenPacket],
// which is faster.
//
// If c is bound to every address, WriteTo sends from the address that the peer sent to
// last. Close closes only the net.PacketConn, neither c nor q. After q has ended,
// reads return [net.ErrClosed], or the error that stopped the socket. Reads return no
// ICMP errors: see [Queue.Refusals].
func (q *Queue) PacketConn(c *Conn) net.PacketConn {
	if c == nil {
		c = new(Conn) // whose methods fail
	}
	cfg := packetconn.PushedConfig[Datagram]{
		Local: c.LocalAddr, Net: c.network, IPv4: c.out.Family == socket.IPv4,
		Ended: func() error { return errZeroQueue },
		Take: func(d Datagram, b []byte) (socket.Packet, int) {
			defer d.Release()
			h := d.header()
			return socket.Packet{From: d.From, To: h.to, Own: h.own}, copy(b, d.Data)
		},
		Send: func(m *socket.Message) error {
			if !c.ok() {
				return os.ErrInvalid
			}
			return c.out.SendNow(m)
		},
	}
	if q != nil && q.done != nil {
		cfg.C, cfg.Idle, cfg.Ended = q.fifo.C, q.fifo.flushReplies, q.reason
	}
	return packetconn.NewPushed(cfg, c.LocalAddrPort().Addr().IsUnspecified())
}

func (q *Queue) finished() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}

// Started implements [Handler]. It closes c if the Queue has already ended.
func (q *Queue) Started(c *Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		c.stop()
		return
	}
	q.sockets++
}

// Received implements [Handler]. Call it to pass a datagram on from another Handler; a
// socket whose Handler is the Queue does not call it. Received puts d into the channel
// and retains it. [Queue.Stats] counts the datagrams that the Queue drops.
func (q *Queue) Received(c *Conn, d Datagram) {
	q.fifo.pass(c, d)
}

// Refused implements [Handler]. If the channel of Refusals is full, the oldest one is
// dropped and counted in the Stats.RefusalsLost of its socket.
func (q *Queue) Refused(c *Conn, r *Refusal) {
	if !q.refusals.Enter() {
		r.lost()
		return
	}
	defer q.refusals.Leave()
	q.refusals.Put(r, nil)
}

// Stopped implements [Handler].
func (q *Queue) Stopped(_ *Conn, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	if q.err == nil {
		q.err = err
	}
	if q.sockets--; q.sockets == 0 {
		q.ended = true
		q.fifo.End()
		q.refusals.End()
		close(q.done)
	}
}
