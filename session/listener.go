package session

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp"
)

// A Listener is a [net.Listener] whose connections are the sessions of one UDP socket. Its
// methods may be called from any goroutine.
type Listener struct {
	mux     *Mux
	conn    *udp.Conn
	table   *table
	backlog chan *Conn
	closed  chan struct{} // by Close
	stopped chan struct{} // by the end of the socket; err is valid then
	err     error
	once    sync.Once
}

var _ net.Listener = (*Listener)(nil)

// Listen opens a socket and accepts sessions. It is Config{}.Listen.
func Listen(ctx context.Context, network, address string) (*Listener, error) {
	return Config{}.Listen(ctx, network, address)
}

// Listen opens a socket and accepts a session from each address that sends to it. The network is
// "udp", "udp4" or "udp6", and the address is as for [udp.Listen]. ctx bounds resolving and
// binding only. Errors are [*net.OpError]s. The error wraps a [*ConfigError] if cfg is not valid.
func (cfg Config) Listen(ctx context.Context, network, address string) (*Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	cfg = cfg.withDefaults()
	l := &Listener{
		mux:     &Mux{cfg: cfg},
		backlog: make(chan *Conn, cfg.Backlog),
		closed:  make(chan struct{}),
		stopped: make(chan struct{}),
	}
	l.mux.begin = l.begin
	socket := cfg.Socket
	socket.PeerErrors = true
	c, err := socket.Listen(ctx, network, address, events{l})
	if errors.Is(err, errors.ErrUnsupported) && !cfg.Socket.PeerErrors {
		socket.PeerErrors = false
		c, err = socket.Listen(ctx, network, address, events{l})
	}
	if err != nil {
		return nil, err
	}
	l.conn = c
	return l, nil
}

// events is the Handler of the Listener's socket.
type events struct{ *Listener }

func (e events) Started(c *udp.Conn) {
	e.table = newTable(e.mux, c)
	e.mux.tables.Store(c, e.table)
}

func (e events) Received(c *udp.Conn, d udp.Datagram) { e.mux.Received(c, d) }

func (e events) Refused(c *udp.Conn, r *udp.Refusal) { e.mux.Refused(c, r) }

func (e events) Stopped(c *udp.Conn, err error) {
	e.mux.Stopped(c, err)
	if e.err = err; err == nil {
		e.err = net.ErrClosed
	}
	close(e.stopped)
}

// begin makes the net.Conn of a new peer, if the backlog has room for it. Only begin adds to the
// backlog, and its calls do not overlap, so there is still room when Started puts it there.
func (l *Listener) begin(p *Peer) (udp.Handler, *atomic.Uint64) {
	if len(l.backlog) == cap(l.backlog) {
		return nil, &l.mux.stats.backlogFull
	}
	return handler{newConn(l, p)}, nil
}

// Accept returns the next new session, a [*Conn]. Its first datagram is ready to be read. The
// error wraps [net.ErrClosed] after Close, and otherwise the error that stopped the socket.
func (l *Listener) Accept() (net.Conn, error) {
	if l == nil || l.conn == nil {
		return nil, unmade("accept", "Listener", "Listen")
	}
	for {
		select {
		case <-l.closed:
			return nil, l.opError("accept", net.ErrClosed)
		default:
		}
		select {
		case s := <-l.backlog:
			l.mux.stats.waiting.Add(-1)
			if s.accept() { // otherwise it has ended meanwhile
				l.mux.stats.accepted.Add(1)
				return s, nil
			}
		case <-l.closed:
		case <-l.stopped:
			return nil, l.opError("accept", l.err)
		}
	}
}

// Close stops accepting sessions. Sessions that wait for Accept end; nothing is sent to their
// peers. Accepted sessions continue on the same port, as the connections of a TCP listener do.
// The socket closes with the last of them, and then Conn().Done() is closed. To end all sessions
// at once, close the socket with Conn().Close(): their Reads and Writes fail with
// [net.ErrClosed].
//
// Close does not wait. Called again, it returns an error that wraps [net.ErrClosed].
func (l *Listener) Close() error {
	if l == nil || l.conn == nil {
		return unmade("close", "Listener", "Listen")
	}
	err := l.opError("close", net.ErrClosed)
	l.once.Do(func() {
		err = nil
		close(l.closed)
		// Sessions that begin while the table is not closed yet may still come into the backlog.
		l.table.close()
		l.clear()
	})
	return err
}

// clear ends the sessions that wait for Accept, once no new ones can begin.
func (l *Listener) clear() {
	for {
		select {
		case s := <-l.backlog:
			l.mux.stats.waiting.Add(-1)
			s.Close()
		default:
			return
		}
	}
}

// Addr returns the address that the socket is bound to, a [*net.UDPAddr].
func (l *Listener) Addr() net.Addr { return l.conn.LocalAddr() }

// Conn returns the socket, for its Stats, Info and options.
func (l *Listener) Conn() *udp.Conn { return l.conn }

// Stats returns the counters. It may be called at any time.
func (l *Listener) Stats() Stats {
	if l.mux == nil {
		return Stats{}
	}
	return l.mux.Stats()
}

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

func (l *Listener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Addr: l.Addr(), Err: err}
}
