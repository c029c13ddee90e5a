package udptest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// trace keeps the last events.
type trace struct {
	size   int
	events []traced
	next   int
}

type traced struct {
	at       time.Duration
	where    string
	what     string
	src, dst netip.AddrPort
	length   int
	refusal  *refusal
}

// note records an event. The caller holds the lock.
func (n *Net) note(now time.Duration, where, what string, p *packet) {
	if n.trace.size > 0 {
		n.trace.add(now, where, what, p)
	}
}

// add is not inlined, so that the callers of note need less stack, which counts for thousands
// of sockets with a goroutine each.
//
//go:noinline
func (t *trace) add(now time.Duration, where, what string, p *packet) {
	e := traced{now, where, what, p.src, p.dst, len(p.data), p.refusal}
	if len(t.events) < t.size {
		t.events = append(t.events, e)
		return
	}
	t.events[t.next] = e
	t.next = (t.next + 1) % t.size
}

// Trace returns the last events, oldest first, one per line: the time, the place, the event and
// the datagram. Config.Trace limits their number.
func (n *Net) Trace() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	for i := range n.trace.events {
		e := n.trace.events[(n.trace.next+i)%len(n.trace.events)]
		fmt.Fprintf(&b, "%12.6fs %-16s %-12s %v > %v", e.at.Seconds(), e.where, e.what, e.src, e.dst)
		if r := e.refusal; r != nil {
			fmt.Fprintf(&b, " ICMP type %d code %d about %v\n", r.typ, r.code, r.to)
		} else {
			fmt.Fprintf(&b, " %d bytes\n", e.length)
		}
	}
	return b.String()
}

// A Frame is a packet that a tap has seen.
type Frame struct {
	Time time.Time // it entered the pipe, or arrived (TapArrivals)
	Pipe string    // name of the pipe
	Lost string    // why it was lost; "": it was not
	IP   []byte    // the packet with its IP header; the tap may keep it
}

type tap struct {
	pipe *Pipe
	f    func(Frame)
}

// Tap calls f for every packet that enters the pipe, in order, including those that are lost,
// until stop is called. f is called with locks held, so it must not use the network.
func (p *Pipe) Tap(f func(Frame)) (stop func()) { return p.tap(&p.taps, f) }

// TapArrivals calls f for every packet that has passed the pipe, including duplicates, when it
// arrives at the other end. It is like [Pipe.Tap] otherwise.
func (p *Pipe) TapArrivals(f func(Frame)) (stop func()) { return p.tap(&p.arrivals, f) }

func (p *Pipe) tap(to *[]*tap, f func(Frame)) (stop func()) {
	t := &tap{p, f}
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	*to = append(*to, t)
	return func() {
		p.net.mu.Lock()
		defer p.net.mu.Unlock()
		*to = slices.DeleteFunc(slices.Clone(*to), func(o *tap) bool { return o == t })
	}
}

//go:noinline
func (t *tap) see(q *packet, now time.Duration, lost string) {
	t.f(Frame{Time: t.pipe.net.start.Add(now), Pipe: t.pipe.name, Lost: lost, IP: q.wire()})
}
