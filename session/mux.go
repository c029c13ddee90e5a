package session

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp"
)

// A Mux is a [udp.Handler] that gives each peer a handler of its own. [Handler] makes one. It may
// serve several sockets. The limits in its Config apply to each socket, and Stats returns the sum
// over all sockets.
type Mux struct {
	cfg    Config
	begin  func(p *Peer) (udp.Handler, *atomic.Uint64)
	stats  counters
	tables sync.Map              // of *udp.Conn to *table
	recent atomic.Pointer[table] // most Muxes have one socket
}

var _ udp.Handler = (*Mux)(nil)

// Handler returns a handler that calls begin for each new peer and then gives the peer's
// datagrams and ICMP errors to the handler that begin returned. There is no goroutine and no
// timer per peer.
//
// The calls for one session are Started, then any number of Received and Refused, and finally
// Stopped. Stopped gets nil after [Peer.End] or when the socket was closed, and otherwise
// [ErrIdle], [ErrEvicted] or the error that stopped the socket. Callbacks for one socket, begin
// included, never overlap, so they may share state without a lock. When begin returns nil, no
// session begins; the datagram is dropped and counted in Stats.Rejected.
//
// begin gets the session's [Peer], whose methods send to it and end the session. The handler may
// be a [udp.Queue] for each session, which a goroutine consumes.
//
// Handler panics with a [*ConfigError] if begin is nil or cfg is not valid; see
// [Config.Validate]. To receive ICMP errors, open the socket with [udp.Config.PeerErrors].
func Handler(cfg Config, begin func(p *Peer) udp.Handler) *Mux {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	if begin == nil {
		panic(&ConfigError{"begin", "is nil"})
	}
	m := &Mux{cfg: cfg.withDefaults()}
	m.begin = func(p *Peer) (udp.Handler, *atomic.Uint64) { return begin(p), &m.stats.rejected }
	return m
}

// Stats returns the counters. It may be called at any time.
func (m *Mux) Stats() Stats { return m.stats.stats() }

// Started implements [udp.Handler].
func (m *Mux) Started(c *udp.Conn) { m.tables.Store(c, newTable(m, c)) }

// Received implements [udp.Handler].
func (m *Mux) Received(c *udp.Conn, d udp.Datagram) {
	m.stats.received.Add(1)
	if t := m.table(c); t != nil {
		t.received(&d)
		return
	}
	m.stats.notListening.Add(1) // a handler before this one has not passed Started on
	d.Drop()
}

// Refused implements [udp.Handler].
func (m *Mux) Refused(c *udp.Conn, r *udp.Refusal) {
	if t := m.table(c); t != nil && t.refused(r) {
		m.stats.refused.Add(1)
		return
	}
	m.stats.strayRefusals.Add(1)
}

// Stopped implements [udp.Handler]. It ends all sessions of the socket.
func (m *Mux) Stopped(c *udp.Conn, err error) {
	if t := m.table(c); t != nil {
		m.tables.Delete(c)
		m.recent.CompareAndSwap(t, nil)
		t.stop(err)
	}
}

func (m *Mux) table(c *udp.Conn) *table {
	if t := m.recent.Load(); t != nil && t.conn == c {
		return t
	}
	v, ok := m.tables.Load(c)
	if !ok {
		return nil
	}
	t := v.(*table)
	m.recent.Store(t)
	return t
}

// ended counts a session by the reason for its end.
func (k *counters) ended(err error, stopped bool) {
	k.active.Add(-1)
	switch {
	case stopped:
		k.failed.Add(1)
	case errors.Is(err, ErrIdle):
		k.idle.Add(1)
	case errors.Is(err, ErrEvicted):
		k.evicted.Add(1)
	default:
		k.closed.Add(1)
	}
}
