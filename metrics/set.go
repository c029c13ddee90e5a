// Package metrics gives names, units and descriptions to the counters of sockets, queues,
// workers and the other packages of the toolkit. Exporters to monitoring systems use it, such
// as the modules udpprom and udpotel. Another exporter needs [Set.Samples] only.
//
//	var set metrics.Set
//	set.AddSocket("dns", conn)
//	prometheus.MustRegister(udpprom.New(&set))
package metrics

import (
	"iter"
	"net"
	"strconv"
	"sync"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/limit"
	"github.com/udpkit/udp/session"
)

// Set is a set of sources: sockets, queues and other objects that have Stats. It counts
// nothing itself: Samples calls Stats of every source each time. The zero Set is empty and
// ready. Its methods may be called from any goroutine.
//
// Each Add method takes a name, which becomes the value of a label. Choose one that stays the
// same when the program restarts. A second source with the same name and kind replaces the
// first. An Add method returns a function that removes the source. It does nothing if another
// source has replaced that one. A closed socket keeps its last values until it is removed, so
// that sums do not fall.
type Set struct {
	mu      sync.Mutex // guards what follows
	sources map[key]*source
}

// key identifies a source.
type key struct{ kind, name, group string }

// labels are the labels that every metric of the source has, and their values.
func (k key) labels() (names, values []string) {
	if k.kind == socketKind {
		return []string{k.kind, "group"}, []string{k.name, k.group}
	}
	return []string{k.kind}, []string{k.name}
}

// source is something that has counters.
type source struct {
	stats func() iter.Seq2[string, float64]
	info  func() []string // values of the labels that come from Info; nil: none
}

// Socket is a [*udp.Conn], [*udp.ConnectedConn], [*udp.MulticastConn] or [*udp.PacketConn].
type Socket interface {
	Stats() udp.Stats    // the counters
	Info() udp.Info      // what the metric info shows
	LocalAddr() net.Addr // likewise, or nil
}

// AddSocket adds a socket, as kind "socket".
func (s *Set) AddSocket(name string, c Socket) (remove func()) {
	return s.addSocket(name, "", c)
}

// AddGroup adds the members of a Group, each as a socket. The label group is the name, and
// the label socket is the name, a slash and the member's number.
func (s *Set) AddGroup(name string, g *udp.Group) (remove func()) {
	var all []func()
	for i, c := range g.Conns() {
		all = append(all, s.addSocket(name+"/"+strconv.Itoa(i), name, c))
	}
	return func() {
		for _, remove := range all {
			remove()
		}
	}
}

func (s *Set) addSocket(name, group string, c Socket) (remove func()) {
	return s.add(key{socketKind, name, group}, &source{
		stats: func() iter.Seq2[string, float64] { return c.Stats().All() },
		info: func() []string {
			i, address := c.Info(), ""
			if a := c.LocalAddr(); a != nil {
				address = a.String()
			}
			return []string{address, strconv.FormatBool(i.GRO), strconv.FormatBool(i.GSO), i.Steering.String()}
		},
	})
}

// AddQueue adds a Queue, as kind "queue".
func (s *Set) AddQueue(name string, q *udp.Queue) (remove func()) {
	return addStats(s, "queue", name, q)
}

// AddWorkers adds Workers, as kind "workers".
func (s *Set) AddWorkers(name string, w *udp.Workers) (remove func()) {
	return addStats(s, "workers", name, w)
}

// AddSessions adds a [*session.Mux] or [*session.Listener], as kind "session".
func (s *Set) AddSessions(name string, m interface{ Stats() session.Stats }) (remove func()) {
	return addStats(s, "session", name, m)
}

// AddExchange adds an [*exchange.Client], as kind "exchange".
func (s *Set) AddExchange(name string, x interface{ Stats() exchange.Stats }) (remove func()) {
	return addStats(s, "exchange", name, x)
}

// AddLimiter adds a Limiter, as kind "limit".
func (s *Set) AddLimiter(name string, l *limit.Limiter) (remove func()) {
	return addStats(s, "limit", name, l)
}

func addStats[S interface {
	All() iter.Seq2[string, float64]
}](s *Set, kind, name string, of interface{ Stats() S }) (remove func()) {
	return s.add(key{kind: kind, name: name}, &source{
		stats: func() iter.Seq2[string, float64] { return of.Stats().All() },
	})
}

func (s *Set) add(k key, added *source) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources == nil {
		s.sources = make(map[key]*source)
	}
	s.sources[k] = added
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sources[k] == added {
			delete(s.sources, k)
		}
	}
}

// Sample is the value of a metric of one source.
type Sample struct {
	Metric *Metric  // one of All
	Labels []string // values of Metric.Labels, in that order
	Value  float64  // the value of a counter never falls
}

// Samples yields the values of all sources, in no particular order. It calls Stats of each
// source once, which is a system call for a socket.
func (s *Set) Samples() iter.Seq[Sample] {
	return func(yield func(Sample) bool) {
		s.mu.Lock()
		sources := make(map[key]*source, len(s.sources))
		for k, v := range s.sources {
			sources[k] = v
		}
		s.mu.Unlock()
		for k, v := range sources {
			if !v.samples(k, yield) {
				return
			}
		}
	}
}

// samples yields those of one source.
func (v *source) samples(k key, yield func(Sample) bool) bool {
	_, labels := k.labels()
	for counter, value := range v.stats() {
		at, ok := counters[k.kind][counter]
		if !ok {
			continue // a sum of others
		}
		values := labels
		if at.reason != "" {
			values = append(values[:len(values):len(values)], at.reason)
		}
		if !yield(Sample{at.metric, values, value}) {
			return false
		}
	}
	return v.info == nil || yield(Sample{socketInfo, append(labels, v.info()...), 1})
}
