// Package udpprom exports the counters of package udp to Prometheus. It is a module of
// its own, so that package udp does not depend on a client library.
//
//	metrics := udpprom.New()
//	metrics.AddSocket("dns", conn)
//	prometheus.MustRegister(metrics)
package udpprom

import (
	"iter"
	"net"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/limit"
	"github.com/udpkit/udp/session"
)

// Collector is a [prometheus.Collector] of sockets and of what handles their datagrams.
// Nothing is counted twice: each scrape asks for the Stats of everything that was added.
// Its methods may be called from any goroutine, also after it was registered.
//
// Each Add method takes a name, the value of a label: choose one that stays the same when
// the program starts again. A name that is in use is given to the newer source. The
// function that an Add method returns removes the source, if the name is still its own.
// A socket that was closed keeps its last values until it is removed.
type Collector struct {
	mu      sync.Mutex // guards what follows
	sources map[key]*source
}

var _ prometheus.Collector = (*Collector)(nil)

// key is the kind of a source and its labels.
type key struct {
	kind        *kind
	name, group string
}

// source is something that has counters.
type source struct {
	stats func() iter.Seq2[string, float64]
	info  func() []string // values of infoLabels; nil: there is none
}

// Socket is a [*udp.Conn], [*udp.ConnectedConn], [*udp.MulticastConn] or [*udp.PacketConn].
type Socket interface {
	Stats() udp.Stats
	Info() udp.Info
	LocalAddr() net.Addr
}

// New returns a Collector of nothing.
func New() *Collector { return &Collector{sources: map[key]*source{}} }

// AddSocket adds the metrics udp_socket_*, with the name in the label socket.
func (c *Collector) AddSocket(name string, s Socket) (remove func()) {
	return c.addSocket(key{sockets, name, ""}, s)
}

func (c *Collector) addSocket(k key, s Socket) (remove func()) {
	return c.add(k, &source{
		stats: func() iter.Seq2[string, float64] { return s.Stats().All() },
		info: func() []string {
			i := s.Info()
			address := ""
			if a := s.LocalAddr(); a != nil {
				address = a.String()
			}
			return []string{address, strconv.FormatBool(i.GRO), strconv.FormatBool(i.GSO), i.Steering.String()}
		},
	})
}

// AddGroup adds the metrics udp_socket_* of each member, with the name in the label group.
// The label socket is the name, a slash and the member's number.
func (c *Collector) AddGroup(name string, g *udp.Group) (remove func()) {
	var all []func()
	for i, m := range g.Conns() {
		all = append(all, c.addSocket(key{sockets, name + "/" + strconv.Itoa(i), name}, m))
	}
	return func() {
		for _, f := range all {
			f()
		}
	}
}

// AddQueue adds the metrics udp_queue_*, with the name in the label queue.
func (c *Collector) AddQueue(name string, q *udp.Queue) (remove func()) {
	return c.add(key{queues, name, ""}, &source{stats: func() iter.Seq2[string, float64] {
		s := q.Stats()
		return counters("received", s.Received, "dropped", s.Dropped, "peak", s.Peak, "waiting", uint64(s.Waiting))
	}})
}

// AddWorkers adds the metrics udp_workers_*, with the name in the label workers.
func (c *Collector) AddWorkers(name string, w *udp.Workers) (remove func()) {
	return c.add(key{workers, name, ""}, &source{stats: func() iter.Seq2[string, float64] {
		s := w.Stats()
		return counters("received", s.Received, "handled", s.Handled, "dropped", s.Dropped, "panicked", s.Panicked,
			"closed", s.Closed, "peak", s.Peak, "waiting", uint64(s.Waiting))
	}})
}

// AddSessions adds the metrics udp_session_* of a [*session.Mux] or [*session.Listener],
// with the name in the label sessions.
func (c *Collector) AddSessions(name string, m interface{ Stats() session.Stats }) (remove func()) {
	return c.add(key{sessions, name, ""}, &source{stats: func() iter.Seq2[string, float64] { return m.Stats().All() }})
}

// AddExchange adds the metrics udp_exchange_* of an [*exchange.Client], with the name in
// the label client.
func (c *Collector) AddExchange(name string, x interface{ Stats() exchange.Stats }) (remove func()) {
	return c.add(key{exchanges, name, ""}, &source{stats: func() iter.Seq2[string, float64] { return x.Stats().All() }})
}

// AddLimiter adds the metrics udp_limit_*, with the name in the label limiter.
func (c *Collector) AddLimiter(name string, l *limit.Limiter) (remove func()) {
	return c.add(key{limiters, name, ""}, &source{stats: func() iter.Seq2[string, float64] { return l.Stats().All() }})
}

func (c *Collector) add(k key, s *source) (remove func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources[k] = s
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.sources[k] == s {
			delete(c.sources, k)
		}
	}
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, k := range kinds {
		k.describe(ch)
	}
	ch <- socketInfo
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	sources := make(map[key]*source, len(c.sources))
	for k, s := range c.sources {
		sources[k] = s
	}
	c.mu.Unlock() // a socket's Stats may ask the kernel
	for k, s := range sources {
		labels := []string{k.name}
		if k.kind == sockets {
			labels = append(labels, k.group)
		}
		k.kind.collect(ch, labels, s.stats())
		if s.info != nil {
			ch <- prometheus.MustNewConstMetric(socketInfo, prometheus.GaugeValue, 1, append(labels, s.info()...)...)
		}
	}
}

// counters yields pairs of a name and a value.
func counters(pairs ...any) iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield(pairs[i].(string), float64(pairs[i+1].(uint64))) {
				return
			}
		}
	}
}
