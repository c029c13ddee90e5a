package udptest

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// sock is a socket. What concerns the network is guarded by the network's lock;
// what lies in its queue, by its own, which is taken last.
type sock struct {
	host   *Host
	id     uint64
	family socket.Family
	opts   socket.Options

	// Guarded by the network's lock.
	bound    netip.Addr // what bind was asked for
	local    netip.Addr // what it is now: concrete while connected
	port     uint16
	peer     netip.AddrPort
	sent     uint64
	groups   []membership
	ttl      [2]int // of multicast, by family
	loop     [2]bool
	out      [2]int // interface index
	leaving  []leaving
	released bool // the port is

	mu          sync.Mutex
	queue       []socket.Packet
	spare       []socket.Packet // memory for the next queue
	used        int             // of the receive buffer, bytes
	reports     []socket.Report
	lostReports uint64 // when it was closed
	drops       int64
	woken       bool
	closed      bool
	dead        bool  // the host has crashed
	fatal       error // ends Serve
	shut        bool  // discarded
	busy        bool  // the Sink is at work
	idle        sync.Cond
	deadline    time.Time

	readable chan struct{} // something has changed for Serve
	writable chan struct{} // closed, and replaced, when something has changed for senders that wait
}

// leaving is a datagram that waits before a link with a rate.
type leaving struct {
	at    time.Duration
	bytes int
}

// Sizes of buffers as Linux has them: net.core.rmem_default and wmem_default of
// 212,992 bytes are double of what was asked for.
const (
	defaultBuffer = 212992 / 2
	leastBuffer   = 2304 / 2 // SOCK_MIN_RCVBUF
	overhead      = 768      // of a datagram in a buffer, beside its payload
)

func newSock(h *Host, f socket.Family, o socket.Options) *sock {
	h.opened++
	size := func(n int) int {
		if n == 0 {
			return defaultBuffer
		}
		return max(n, leastBuffer)
	}
	o.ReadBuffer, o.WriteBuffer = size(o.ReadBuffer), size(o.WriteBuffer)
	s := &sock{
		host: h, id: h.id<<32 | h.opened, family: f, opts: o,
		ttl: [2]int{1, 1}, loop: [2]bool{true, true},
		readable: make(chan struct{}, 1), writable: make(chan struct{}),
	}
	s.idle.L = &s.mu
	return s
}

var _ socket.Socket = (*sock)(nil)

// maxBatch is how many datagrams one call to the Sink brings at the most.
const maxBatch = 64

// Serve implements socket.Socket.
func (s *sock) Serve(sink socket.Sink) error {
	draining, soon, left := false, false, 0
	for {
		batch, reports, woken, closed, fault := s.next(draining, soon, left)
		soon = false
		switch {
		case closed:
			return s.end()
		case woken:
			action := sink.Woken()
			s.rest()
			switch action {
			case socket.Stop:
				return nil
			case socket.Drain:
				draining, left = true, s.queued()
			case socket.Soon:
				soon = true // and then asks again
				s.Wake()
			}
			continue
		case fault != nil:
			more := sink.Fault(fault)
			s.rest()
			if !more {
				return nil
			}
			continue
		case len(reports) > 0:
			more := sink.Reports(reports)
			s.rest()
			if !more {
				return nil
			}
			continue
		case len(batch) == 0: // drained
			return nil
		}
		left -= len(batch)
		more := sink.Packets(batch)
		for i := range batch {
			batch[i].Buf.Release(1)
		}
		s.giveBack(batch)
		s.rest()
		if !more {
			return nil
		}
	}
}

// end says why Serve ends.
func (s *sock) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fatal != nil {
		return s.fatal
	}
	return net.ErrClosed
}

// settle waits until everything that was pushed has been handled.
func (s *sock) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && s.fatal == nil && (s.busy || s.woken || len(s.queue)+len(s.reports) > 0) {
		s.idle.Wait()
	}
}

// next waits for what Serve does next; when draining it does not wait. With soon
// a Wake comes after the datagrams.
func (s *sock) next(draining, soon bool, left int) (batch []socket.Packet, rs []socket.Report, woken, closed bool, fault error) {
	for {
		s.mu.Lock()
		switch {
		case s.closed, s.fatal != nil:
			s.mu.Unlock()
			return nil, nil, false, true, nil
		case s.woken && !(soon && len(s.queue)+len(s.reports) > 0):
			s.woken, s.busy = false, true
			s.mu.Unlock()
			return nil, nil, true, false, nil
		case len(s.reports) > 0:
			rs, s.reports, s.busy = s.reports, nil, true
			s.mu.Unlock()
			return nil, rs, false, false, nil
		case len(s.queue) > 0 && (!draining || left > 0):
			s.busy = true
			s.mu.Unlock()
			if err := s.host.inject(opRead, s.port); err != nil {
				return nil, nil, false, false, err
			}
			return s.take(draining, left), nil, false, false, nil
		}
		s.mu.Unlock()
		if draining {
			return nil, nil, false, false, nil
		}
		<-s.readable
	}
}

// take takes datagrams off the queue.
func (s *sock) take(draining bool, left int) []socket.Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.queue), maxBatch)
	if draining {
		n = min(n, left)
	}
	batch := s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue, s.spare = s.spare, nil
	}
	for i := range batch {
		s.used -= len(batch[i].Data) + overhead
	}
	return batch
}

// giveBack keeps the memory of a batch for the queue to come.
func (s *sock) giveBack(batch []socket.Packet) {
	clear(batch)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spare == nil && len(batch) < maxBatch {
		s.spare = batch[:0]
	}
}

// rest says that the Sink has returned.
func (s *sock) rest() {
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
	s.idle.Broadcast()
}

func (s *sock) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Wake implements socket.Socket.
func (s *sock) Wake() {
	s.mu.Lock()
	s.woken = true
	s.mu.Unlock()
	signal(s.readable)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// push queues a datagram, or drops it when there is no room, as Linux does: the
// first always finds room. Serve does not know of it before s.readable is
// signalled.
func (s *sock) push(p socket.Packet) (room bool) {
	s.mu.Lock()
	if s.shut || s.closed || s.dead {
		s.mu.Unlock()
		p.Buf.Release(1)
		return true
	}
	cost := len(p.Data) + overhead
	if s.used > 0 && s.used+cost > 2*s.opts.ReadBuffer {
		s.drops++
		s.mu.Unlock()
		p.Buf.Release(1)
		return false
	}
	if s.opts.Timestamps {
		p.Time = time.Now()
	}
	s.used += cost
	s.queue = append(s.queue, p)
	s.mu.Unlock()
	return true
}

// report queues a report, and is otherwise like push.
func (s *sock) report(r socket.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !s.dead {
		s.reports = append(s.reports, r)
	}
}

// Discard implements socket.Socket.
func (s *sock) Discard() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	return s.empty()
}

// empty needs s.mu.
func (s *sock) empty() int {
	n := len(s.queue)
	for _, p := range s.queue {
		p.Buf.Release(1)
	}
	s.lostReports += uint64(len(s.reports))
	s.queue, s.spare, s.reports, s.used = nil, nil, nil, 0
	return n
}

// Close implements socket.Socket.
func (s *sock) Close() error {
	n := s.host.net
	n.mu.Lock()
	s.release()
	n.mu.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.closed = true
	s.empty()
	s.wakeSenders()
	s.mu.Unlock()
	s.idle.Broadcast()
	signal(s.readable)
	return nil
}

// die is what a crash of the host does. It needs the network's lock.
func (s *sock) die() {
	s.released = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	s.empty()
}

// SetWriteDeadline implements socket.Socket.
func (s *sock) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.deadline = t
	s.wakeSenders()
	return nil
}

// wakeSenders needs s.mu.
func (s *sock) wakeSenders() {
	close(s.writable)
	s.writable = make(chan struct{})
}

// Drops implements socket.Socket.
func (s *sock) Drops() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drops
}

// Info implements socket.Socket.
func (s *sock) Info() socket.Info {
	return socket.Info{
		Family: s.family, ReadBuffer: s.opts.ReadBuffer, WriteBuffer: s.opts.WriteBuffer,
		PacketInfo: true, ECN: true, ErrorQueue: true, MulticastFilter: true,
		Timestamps: s.opts.Timestamps, Segments: 1, Batch: maxBatch,
	}
}

// SyscallConn implements socket.Socket: there is no descriptor.
func (s *sock) SyscallConn() (syscall.RawConn, error) {
	return nil, errors.Join(errors.New("udptest: a simulated socket has no descriptor"), errors.ErrUnsupported)
}
