package session

import (
	"log/slog"
	"net/netip"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp"
)

// table has the sessions of one socket.
//
// Lock order: run, then mu. Callbacks run with run, and may call everything that needs mu.
type table struct {
	mux  *Mux
	conn *udp.Conn
	base time.Time

	run sync.Mutex // while callbacks run, on the socket's goroutine or the timer's

	mu       sync.Mutex
	sessions map[netip.AddrPort]*Peer
	fresh    list   // sessions that are not confirmed
	proven   list   // sessions that are
	turn     uint64 // of the last datagram
	due      []*Peer
	timer    *time.Timer // calls sweep
	armed    bool        // timer runs
	closing  bool        // no new sessions; the socket closes with the last one
	stopped  bool

	pending atomic.Bool // due is not empty
}

func newTable(m *Mux, c *udp.Conn) *table {
	return &table{mux: m, conn: c, base: time.Now(), sessions: map[netip.AddrPort]*Peer{}}
}

func (t *table) received(d *udp.Datagram) {
	t.run.Lock()
	defer t.run.Unlock()
	p := t.known(d)
	if p == nil {
		if p = t.first(d); p == nil {
			return
		}
	}
	t.mux.stats.delivered.Add(1)
	p.handler.Received(t.conn, *d)
	t.stopDue()
}

// first begins a session and starts it, or counts the datagram that does not begin one, even
// if a function of the user panics.
func (t *table) first(d *udp.Datagram) *Peer {
	why, started := &t.mux.stats.rejected, false
	defer func() {
		if !started {
			why.Add(1)
		}
	}()
	p, reason := t.enter(d)
	if p == nil {
		why = reason
		d.Drop()
		return nil
	}
	t.stopDue() // an evicted session stops before the one in its place starts
	p.handler.Started(t.conn)
	started = true
	return p
}

// known returns the session of a datagram, if there is one.
func (t *table) known(d *udp.Datagram) *Peer {
	now := time.Since(t.base)
	t.mu.Lock()
	p := t.sessions[d.From]
	if p == nil {
		t.mu.Unlock()
		return nil
	}
	t.saw(p, now)
	if p.list == &t.fresh && p.sent.Load() {
		p.list.remove(p)
		t.proven.push(p, now)
	} else if now-p.listed > t.mux.cfg.IdleTimeout/precision {
		l := p.list
		l.remove(p)
		l.push(p, now)
	}
	t.mu.Unlock()
	if to := d.To(); to != p.local && to.IsValid() {
		p.learn(d)
	}
	return p
}

// saw notes that p has sent a datagram. It needs mu.
func (t *table) saw(p *Peer, now time.Duration) {
	t.turn++
	p.seen, p.turn = now, t.turn
}

// precision bounds how late a session ends, to IdleTimeout/precision. It is late when a session
// before it in the list had a later datagram.
const precision = 16

// learn keeps what Reply needs, without the payload.
func (p *Peer) learn(d *udp.Datagram) {
	p.local = d.To()
	o := *d
	o.Data = nil
	o = o.Clone()
	p.origin.Store(&o)
}

// enter begins a session, or returns the counter of the reason why not. It needs run, so that no
// session is added meanwhile.
func (t *table) enter(d *udp.Datagram) (*Peer, *atomic.Uint64) {
	stats, cfg := &t.mux.stats, &t.mux.cfg
	t.mu.Lock()
	closed := t.closing || t.stopped
	full := len(t.sessions) >= cfg.MaxSessions && t.fresh.first == nil
	t.mu.Unlock()
	switch {
	case closed:
		return nil, &stats.notListening
	case full:
		return nil, &stats.full
	case cfg.Accept != nil && !cfg.Accept(*d):
		return nil, &stats.rejected
	}
	p := &Peer{addr: d.From, table: t}
	p.learn(d)
	h, why := t.mux.begin(p)
	if isNil(h) {
		p.ended.Store(true)
		return nil, why
	}
	p.handler = h

	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case p.ended.Load(): // begin has called End
		return nil, &stats.rejected
	case t.closing:
		p.ended.Store(true)
		return nil, &stats.notListening
	}
	if len(t.sessions) >= cfg.MaxSessions {
		victim := t.fresh.idlest()
		if victim == nil { // begin took so long that the last one was confirmed
			p.ended.Store(true)
			return nil, &stats.full
		}
		t.remove(victim, ErrEvicted)
	}
	t.sessions[p.addr] = p
	t.saw(p, time.Since(t.base))
	t.fresh.push(p, p.seen)
	stats.begun.Add(1)
	stats.active.Add(1)
	t.arm()
	return p, nil
}

// isNil reports whether h is nil, or a nil pointer or function.
func isNil(h udp.Handler) bool {
	if h == nil {
		return true
	}
	v := reflect.ValueOf(h)
	return (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil()
}

func (t *table) refused(r *udp.Refusal) bool {
	t.run.Lock()
	defer t.run.Unlock()
	t.mu.Lock()
	p := t.sessions[r.Peer]
	t.mu.Unlock()
	if p == nil {
		return false
	}
	p.handler.Refused(t.conn, r)
	t.stopDue()
	return true
}

// end is remove for callers without a lock. If a callback is running, Stopped follows on its
// goroutine, otherwise on the timer's.
func (t *table) end(p *Peer, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.list == nil { // ended, or not begun: see enter
		p.ended.Store(true)
		return
	}
	t.remove(p, err)
	t.arm()
}

// remove needs mu. Stopped follows in stopDue.
func (t *table) remove(p *Peer, err error) {
	delete(t.sessions, p.addr)
	p.list.remove(p)
	p.err = err
	p.ended.Store(true)
	t.mux.stats.ended(err, t.stopped)
	t.due = append(t.due, p)
	t.pending.Store(true)
	if t.closing && len(t.sessions) == 0 && !t.stopped {
		t.conn.Close()
	}
}

// stopDue calls Stopped for the sessions that have ended. It needs run.
func (t *table) stopDue() {
	for t.pending.Load() {
		t.mu.Lock()
		due := t.due
		t.due = nil
		t.pending.Store(false)
		t.mu.Unlock()
		for _, p := range due {
			t.stopOne(p)
		}
	}
}

// stopOne recovers a panic: the timer's goroutine has no other recover, and the other sessions
// must stop too.
func (t *table) stopOne(p *Peer) {
	defer func() {
		if v := recover(); v != nil {
			t.mux.stats.panics.Add(1)
			log := t.mux.cfg.Socket.Logger
			if log == nil {
				log = slog.Default()
			}
			log.Error("panic in a session's Stopped", "socket", t.conn.String(), "peer", p.addr,
				"panic", v, "stack", string(debug.Stack()))
		}
	}()
	p.handler.Stopped(t.conn, p.err)
}

// arm starts the timer unless it runs. It needs mu. Datagrams move sessions towards the end of
// their list without touching the timer: when it fires early, sweep sets it again.
func (t *table) arm() {
	if t.stopped {
		return
	}
	var wait time.Duration
	if len(t.due) == 0 {
		if t.armed || len(t.sessions) == 0 {
			return
		}
		// With many sessions, those of a millisecond end together.
		wait = max(t.nextIdle()-time.Since(t.base), time.Millisecond)
	}
	t.armed = true
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.sweep)
	} else {
		t.timer.Reset(wait)
	}
}

// nextIdle returns when the next session ends unless its peer sends something.
func (t *table) nextIdle() time.Duration {
	next := time.Duration(1<<63 - 1)
	for _, l := range []*list{&t.fresh, &t.proven} {
		if l.first != nil {
			next = min(next, l.first.seen+t.mux.cfg.IdleTimeout)
		}
	}
	return next
}

// sweep ends idle sessions, and calls Stopped where End could not.
func (t *table) sweep() {
	t.run.Lock()
	defer t.run.Unlock()
	t.mu.Lock()
	if !t.stopped {
		t.armed = false
		now := time.Since(t.base)
		for _, l := range []*list{&t.fresh, &t.proven} {
			for l.first != nil && l.first.seen+t.mux.cfg.IdleTimeout <= now {
				t.remove(l.first, ErrIdle)
			}
		}
	}
	t.mu.Unlock()
	t.stopDue()
	t.mu.Lock()
	t.arm()
	t.mu.Unlock()
}

// stop ends all sessions when the socket has stopped.
func (t *table) stop(err error) {
	t.run.Lock()
	defer t.run.Unlock()
	t.mu.Lock()
	t.stopped = true
	for _, l := range []*list{&t.fresh, &t.proven} {
		for l.first != nil {
			t.remove(l.first, err)
		}
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	t.stopDue()
}

// close lets no new session begin, and closes the socket when there is none or with the last.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = true
	if len(t.sessions) == 0 && !t.stopped {
		t.conn.Close()
	}
}
