package session

import (
	"net"
	"os"
	"sync"
	"time"

	"github.com/udpkit/udp"
)

// A Conn is one session of a [Listener], a [net.Conn]. Each Read returns one datagram of the
// peer, and each Write sends one. Its methods may be called from any goroutine.
//
// When the session ends without Close, Read first returns the datagrams that have arrived. After
// them Read fails with a [*net.OpError] that wraps [ErrIdle], [ErrEvicted], or the error that
// stopped the socket. Write fails with it at once.
type Conn struct {
	peer *Peer
	l    *Listener

	mu       sync.Mutex
	arrived  sync.Cond // or a deadline, an ICMP error, the end
	waiting  fifo
	refusal  *udp.Refusal // for the next Read
	end      error        // why the session has ended
	closed   bool         // by Close
	accepted bool

	readDeadline, writeDeadline time.Time
	timer                       *time.Timer // of readDeadline, made when one is set
}

var _ net.Conn = (*Conn)(nil)

func newConn(l *Listener, p *Peer) *Conn {
	s := &Conn{peer: p, l: l}
	s.arrived.L = &s.mu
	return s
}

// Read copies the payload of the peer's next datagram into b and returns its length. It waits for
// one until the read deadline. As with a [*net.UDPConn], an empty datagram is a Read of 0 bytes
// without an error. If a datagram is longer than b, the rest is lost, and Stats.Cut counts it.
//
// An ICMP error about a datagram written earlier fails one Read, with a [*udp.Refusal] that wraps
// an errno such as ECONNREFUSED. The session continues: the peer may be back, and ICMP errors can
// be forged. Messages about the path's MTU fail no Read. Systems without [udp.Config.PeerErrors]
// report no ICMP errors.
func (s *Conn) Read(b []byte) (int, error) {
	if !s.made() {
		return 0, unmade("read", "Conn", "Accept")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, s.peer.opError("read", net.ErrClosed)
		case passed(s.readDeadline):
			return 0, s.peer.opError("read", os.ErrDeadlineExceeded)
		case s.refusal != nil:
			r := s.refusal
			s.refusal = nil
			return 0, s.peer.opError("read", r)
		case s.waiting.count > 0:
			n, whole := s.waiting.take(b)
			if !whole {
				s.l.mux.stats.cut.Add(1)
			}
			return n, nil
		case s.end != nil:
			return 0, s.peer.opError("read", s.end)
		}
		s.arrived.Wait()
	}
}

// Write sends b to the peer as one datagram, from the address that the peer last sent to. Its
// errors are those of [udp.Datagram.Reply], and [os.ErrDeadlineExceeded] if the write deadline
// has passed before the call. The deadline does not interrupt a send that waits, which is rare.
func (s *Conn) Write(b []byte) (int, error) {
	if !s.made() {
		return 0, unmade("write", "Conn", "Accept")
	}
	s.mu.Lock()
	var err error
	switch {
	case s.closed:
		err = net.ErrClosed
	case s.end != nil:
		err = s.end
	case passed(s.writeDeadline):
		err = os.ErrDeadlineExceeded
	}
	s.mu.Unlock()
	if err != nil {
		return 0, s.peer.opError("write", err)
	}
	if err := s.peer.Send(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close ends the session and discards what has not been read. The next datagram of the same peer
// begins a new session. Called again, Close returns an error that wraps [net.ErrClosed].
func (s *Conn) Close() error {
	if !s.made() {
		return unmade("close", "Conn", "Accept")
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return s.peer.opError("close", net.ErrClosed)
	}
	s.closed = true
	s.finish(net.ErrClosed)
	s.waiting.clear()
	s.mu.Unlock()
	s.peer.End()
	return nil
}

// LocalAddr returns the address that the peer last sent to, a [*net.UDPAddr]. On a socket bound
// to all addresses, that is the address by which the peer knows this host.
func (s *Conn) LocalAddr() net.Addr {
	if !s.made() {
		return nil
	}
	return net.UDPAddrFromAddrPort(s.peer.LocalAddr())
}

// RemoteAddr returns the peer's address, a [*net.UDPAddr].
func (s *Conn) RemoteAddr() net.Addr {
	if !s.made() {
		return nil
	}
	return net.UDPAddrFromAddrPort(s.peer.Addr())
}

// SetDeadline sets both deadlines.
func (s *Conn) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline makes Read fail with [os.ErrDeadlineExceeded] from t on, including a Read that
// is waiting. The zero time means never.
func (s *Conn) SetReadDeadline(t time.Time) error {
	return s.set(func() {
		s.readDeadline = monotonic(t)
		switch {
		case t.IsZero() || s.end != nil:
			if s.timer != nil {
				s.timer.Stop()
			}
		case s.timer == nil:
			s.timer = time.AfterFunc(time.Until(s.readDeadline), s.wake)
		default:
			s.timer.Reset(time.Until(s.readDeadline))
		}
		s.arrived.Broadcast()
	})
}

// SetWriteDeadline makes Write fail with [os.ErrDeadlineExceeded] from t on. The zero time means
// never.
func (s *Conn) SetWriteDeadline(t time.Time) error {
	return s.set(func() { s.writeDeadline = monotonic(t) })
}

// set calls f with the lock held, unless s is closed.
func (s *Conn) set(f func()) error {
	if !s.made() {
		return unmade("set", "Conn", "Accept")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.peer.opError("set", net.ErrClosed)
	}
	f()
	return nil
}

// Session returns the session's [Peer], for its addresses and socket.
func (s *Conn) Session() *Peer { return s.peer }

func (s *Conn) made() bool { return s != nil && s.peer != nil }

func (s *Conn) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived.Broadcast()
}

// accept lets Accept return s, and reports whether it may.
func (s *Conn) accept() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = s.end == nil
	return s.accepted
}

// finish needs mu.
func (s *Conn) finish(err error) {
	if s.end == nil {
		s.end = err
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.arrived.Broadcast()
}

// started lets Accept have the session.
func (s *Conn) started() {
	s.l.mux.stats.waiting.Add(1)
	s.l.backlog <- s
	if s.l.isClosed() { // Close may have cleared the backlog before
		s.l.clear()
	}
}

func (s *Conn) received(d udp.Datagram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.waiting.put(d.Data, s.l.mux.cfg.ReadBuffer) {
		s.l.mux.stats.bufferFull.Add(1)
		d.Drop()
		return
	}
	s.arrived.Signal()
}

func (s *Conn) refused(r *udp.Refusal) {
	if r.MTU > 0 {
		return // the path MTU: the system has learned it, and Read has nothing to do
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = r
	s.arrived.Signal()
}

func (s *Conn) stopped(err error) {
	if err == nil {
		err = net.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finish(err)
	if !s.accepted {
		s.waiting.clear()
	}
}

// handler is the Conn as the Mux sees it. Its methods are not Conn's.
type handler struct{ *Conn }

func (h handler) Started(*udp.Conn)                    { h.started() }
func (h handler) Received(_ *udp.Conn, d udp.Datagram) { h.received(d) }
func (h handler) Refused(_ *udp.Conn, r *udp.Refusal)  { h.refused(r) }
func (h handler) Stopped(_ *udp.Conn, err error)       { h.stopped(err) }

func passed(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}

// monotonic gives t a reading of the monotonic clock, so that setting the system's clock does
// not move a deadline.
func monotonic(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Now().Add(time.Until(t))
}
