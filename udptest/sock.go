package udptest

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// A sock is a simulated socket. Its queue has a lock of its own, which is taken after the
// network's.
type sock struct {
	host   *Host
	id     uint64
	family socket.Family
	opts   socket.Options

	// Guarded by the network's lock.
	bound    netip.Addr // by bind
	local    netip.Addr // now: a concrete address while connected
	port     uint16
	peer     netip.AddrPort
	sent     uint64
	groups   []membership
	ttl      [2]int // of multicast, by family
	loop     [2]bool
	out      [2]int // interface index
	leaving  []leaving
	released bool // the port is free

	mu          sync.Mutex
	queue       []socket.Packet
	arrived     []arrival       // in this run of the events, not queued yet
	spare       []socket.Packet // memory for the next queue
	used        int             // bytes of the receive buffer
	reports     []socket.Report
	pending     errno  // error of the last report, for the next send (sk_err on Linux)
	lostReports uint64 // discarded by Close
	drops       int64
	woken       bool
	closed      bool
	dead        bool  // the host has crashed
	fatal       error // ends Serve
	shut        bool  // Discard was called
	busy        bool  // the Sink is running
	idle        sync.Cond
	deadline    time.Time // of sends

	readDeadline time.Time     // with Options.Pulled
	readable     chan struct{} // wakes Serve
	writable     chan struct{} // closed to wake sends that wait; nil: none does
}

// leaving is a datagram that is queued before a link with a rate.
type leaving struct {
	by    *Pipe
	at    time.Duration
	bytes int
}

// Sizes of buffers as on Linux. The defaults of net.core.rmem_default and wmem_default, 212,992
// bytes, are twice what a program would set.
const (
	defaultBuffer = 212992 / 2
	leastBuffer   = 2304 / 2 // SOCK_MIN_RCVBUF
	overhead      = 768      // bytes of a datagram in a buffer, in addition to its payload
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
		readable: make(chan struct{}, 1),
	}
	s.idle.L = &s.mu
	return s
}

var _ socket.Socket = (*sock)(nil)

// Close implements socket.Socket.
func (s *sock) Close() error {
	n := s.host.net
	n.mu.Lock()
	s.release()
	s.host.dead = slices.DeleteFunc(s.host.dead, func(o *sock) bool { return o == s })
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

// die makes the socket silent after a crash of the host. The caller holds the network's lock.
func (s *sock) die() {
	s.released = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	s.empty()
	s.wakeSenders()
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

// wakeSenders wakes sends that wait. The caller holds s.mu.
func (s *sock) wakeSenders() {
	if s.writable != nil {
		close(s.writable)
		s.writable = nil
	}
}

// changes returns a channel that is closed when a send that waits should try again. A caller
// that holds the network's lock misses no change of the network.
func (s *sock) changes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writable == nil {
		s.writable = make(chan struct{})
	}
	return s.writable
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
		Family: s.family, PacketInfo: true, ECN: true, ErrorQueue: true, MulticastFilter: true,
		Timestamps: s.opts.Timestamps, GRO: !s.opts.NoOffload, Segments: 1, PortKept: true,
	}
}

// Limits implements socket.Socket.
func (s *sock) Limits() socket.Limits {
	return socket.Limits{ReadBuffer: s.opts.ReadBuffer, WriteBuffer: s.opts.WriteBuffer, Batch: maxBatch}
}

// Segments implements socket.Socket.
func (s *sock) Segments() int { return 1 }

// SyscallConn implements socket.Socket: there is no descriptor.
func (s *sock) SyscallConn() (syscall.RawConn, error) {
	return nil, errors.Join(errors.New("udptest: a simulated socket has no descriptor"), errors.ErrUnsupported)
}
