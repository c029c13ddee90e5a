package limit

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/udpkit/udp"
)

// ErrAmplification means that [Limiter.Reply] did not send a reply, because it would exceed the
// bytes allowed for an unvalidated address. It comes in a [*net.OpError].
var ErrAmplification = errors.New("limit: reply exceeds the bytes allowed for an unvalidated address")

// A Limiter is a [udp.Handler] that passes the datagrams that it admits on to another Handler.
// [New] makes one; the zero Limiter admits nothing. It may serve several sockets, which share its
// tables. Its methods may be called from any goroutine and from callbacks.
type Limiter struct {
	cfg   Config
	next  udp.Handler
	stats counters

	readDone interface{ ReadDone(*udp.Conn) } // next, or nil
	base     time.Time
	// refilled is how long an empty bucket takes to fill.
	refilled time.Duration

	mu       sync.Mutex
	sources  table[source, bucket]
	overflow *rate.Limiter        // for sources that have no bucket
	credits  table[peer, float64] // bytes that Reply may send to addresses that are not validated
	// valid has validated addresses and the time of their last datagram, since base. It is a table
	// of its own, so that a flood of forged addresses leaves it alone.
	valid table[peer, time.Duration]
}

var _ udp.Handler = (*Limiter)(nil)

// source is a prefix, with IPv4 in the form of IPv6.
type source [16]byte

type bucket struct {
	tokens rate.Limiter
	used   time.Duration // when last, since base
}

// peer is an address and port. An address of one link is on an interface.
type peer struct {
	addr [16]byte
	port uint16
	link uint32
}

// New returns a Limiter that passes admitted datagrams on to next. Its error is a [*ConfigError].
func New(cfg Config, next udp.Handler) (*Limiter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if isNil(next) {
		return nil, &ConfigError{"next", "is nil"}
	}
	cfg = cfg.withDefaults()
	l := &Limiter{
		cfg: cfg, next: next, base: time.Now(),
		sources:  newTable[source, bucket](cfg.MaxSources),
		overflow: rate.NewLimiter(cfg.OverflowRate, cfg.OverflowBurst),
		credits:  newTable[peer, float64](cfg.MaxSources),
		valid:    newTable[peer, time.Duration](cfg.MaxSources),
	}
	l.readDone, _ = next.(interface{ ReadDone(*udp.Conn) })
	if seconds := float64(cfg.Burst) / float64(cfg.Rate); seconds < 1e9 {
		l.refilled = time.Duration(seconds * float64(time.Second))
	} else {
		l.refilled = 1<<63 - 1
	}
	return l, nil
}

// isNil reports whether h is nil, or a nil pointer or function.
func isNil(h udp.Handler) bool {
	if h == nil {
		return true
	}
	v := reflect.ValueOf(h)
	return (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil()
}

// Stats returns the counters. It may be called at any time.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	sources, addresses := len(l.sources.entries), len(l.credits.entries)
	l.mu.Unlock()
	s := l.stats.stats()
	s.Sources, s.Addresses = uint64(sources), uint64(addresses)
	return s
}

// Started implements [udp.Handler].
func (l *Limiter) Started(c *udp.Conn) { l.handler().Started(c) }

// Received implements [udp.Handler]. It passes d on if [Limiter.Allow] admits it, and drops it
// otherwise.
func (l *Limiter) Received(c *udp.Conn, d udp.Datagram) {
	if l.Allow(d) {
		l.next.Received(c, d)
		return
	}
	d.Drop()
}

// Refused implements [udp.Handler].
func (l *Limiter) Refused(c *udp.Conn, r *udp.Refusal) { l.handler().Refused(c, r) }

// ReadDone calls ReadDone of the handler behind l, if that has the method.
func (l *Limiter) ReadDone(c *udp.Conn) {
	if l.readDone != nil {
		l.readDone.ReadDone(c)
	}
}

// Stopped implements [udp.Handler].
func (l *Limiter) Stopped(c *udp.Conn, err error) { l.handler().Stopped(c, err) }

// handler returns next, or for a zero Limiter a Handler that does nothing.
func (l *Limiter) handler() udp.Handler {
	if l.next == nil {
		return udp.BaseHandler{}
	}
	return l.next
}

// Allow counts a datagram and reports whether it is admitted. The bytes of an admitted datagram
// count for [Limiter.Reply]. Received calls Allow. As the Config.Accept of package session, Allow
// limits how fast sessions begin.
func (l *Limiter) Allow(d udp.Datagram) bool {
	if l.next == nil {
		return false
	}
	now := time.Now()
	since := now.Sub(l.base)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.received.Add(1)
	ok, shared := l.take(l.source(d.From.Addr()), now, since)
	switch {
	case !ok && shared:
		l.stats.overflowed.Add(1)
		return false
	case !ok:
		l.stats.limited.Add(1)
		return false
	}
	l.stats.admitted.Add(1)
	key := peerOf(d)
	if l.isValid(key, since) {
		*l.valid.use(key) = since
		return true
	}
	credit := l.credits.use(key)
	if credit == nil {
		if l.credits.full() {
			l.stats.forgotten.Add(1)
		}
		credit = l.credits.add(key)
	}
	*credit += l.cfg.Amplification * float64(len(d.Data))
	return true
}

// take takes a token of a source. shared reports that the source has no bucket of its own. It
// needs mu.
func (l *Limiter) take(s source, now time.Time, since time.Duration) (ok, shared bool) {
	b := l.sources.use(s)
	if b == nil {
		if l.sources.full() {
			if since-l.sources.oldest().used < l.refilled {
				return l.overflow.AllowN(now, 1), true
			}
			l.stats.replaced.Add(1) // its bucket is full again, like a new one
		}
		b = l.sources.add(s)
		// The zero rate.Limiter is empty: setting it long ago fills it.
		b.tokens.SetBurstAt(time.Time{}, l.cfg.Burst)
		b.tokens.SetLimitAt(time.Time{}, l.cfg.Rate)
	}
	b.used = since
	return b.tokens.AllowN(now, 1), false
}

// isValid needs mu.
func (l *Limiter) isValid(key peer, since time.Duration) bool {
	seen := l.valid.get(key)
	return seen != nil && since-*seen <= l.cfg.ValidFor
}

// Validate ends the limit on replies to d's sender. Call it when the sender has proved that it
// receives datagrams at its address and port. The limit applies again when nothing came from
// there for Config.ValidFor, or when Config.MaxSources other addresses were validated.
func (l *Limiter) Validate(d udp.Datagram) {
	if l.next == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.valid.useOrAdd(peerOf(d)) = time.Since(l.base)
}

// Reply sends b to d's sender as [udp.Datagram.Reply] does. All replies to an unvalidated address
// together have at most Config.Amplification times the bytes that were admitted from it. If b
// exceeds that, Reply sends nothing and the error wraps [ErrAmplification]. Replies sent without
// this method are not counted.
//
// After ErrAmplification the caller may send a shorter reply, such as the truncated response of
// DNS.
func (l *Limiter) Reply(d udp.Datagram, b []byte) error {
	if !l.spend(peerOf(d), float64(len(b))) {
		l.stats.capped.Add(1)
		l.stats.cappedBytes.Add(uint64(len(b)))
		return &net.OpError{Op: "write", Net: "udp", Addr: net.UDPAddrFromAddrPort(d.From), Err: ErrAmplification}
	}
	if err := d.Reply(b); err != nil {
		return err // the bytes stay counted
	}
	l.stats.replied.Add(1)
	l.stats.repliedBytes.Add(uint64(len(b)))
	return nil
}

func (l *Limiter) spend(key peer, n float64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isValid(key, time.Since(l.base)) {
		return true
	}
	credit := l.credits.get(key)
	if credit == nil || n > *credit { // nil: evicted, or never admitted
		return false
	}
	*credit -= n
	return true
}

// source returns the prefix of an address.
func (l *Limiter) source(a netip.Addr) source {
	bits := l.cfg.IPv6Prefix
	if a = a.Unmap(); a.Is4() {
		bits = l.cfg.IPv4Prefix
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return source{} // not received by a socket
	}
	return p.Addr().As16()
}

func peerOf(d udp.Datagram) peer {
	a := d.From.Addr().Unmap()
	p := peer{port: d.From.Port()}
	if a.IsValid() {
		p.addr = a.As16()
	}
	if a.Zone() != "" {
		p.link = uint32(d.IfIndex())
	}
	return p
}
