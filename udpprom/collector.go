// Package udpprom exports the counters of package udp to Prometheus. It is a module of
// its own, so that package udp does not depend on a client library.
//
//	var set metrics.Set
//	set.AddSocket("dns", conn)
//	prometheus.MustRegister(udpprom.New(&set))
//
// The module also has alert rules and a dashboard for Grafana: see docs/observability.md.
package udpprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/udpkit/udp/metrics"
)

// Collector is a [prometheus.Collector] of the sources in a [metrics.Set]. A metric is named
// udp, its kind and its name, such as udp_socket_dropped_datagrams_total; docs/metrics.md
// lists them. It counts nothing itself: each scrape calls Stats of every source.
type Collector struct{ set *metrics.Set }

var _ prometheus.Collector = (*Collector)(nil)

// New returns a Collector of the sources that are in the set at each scrape.
func New(set *metrics.Set) *Collector { return &Collector{set} }

// descs are the metrics as Prometheus wants them.
var descs = func() map[*metrics.Metric]*prometheus.Desc {
	descs := make(map[*metrics.Metric]*prometheus.Desc)
	for m := range metrics.All() {
		name := m.Name
		if m.Type == metrics.Counter {
			name += "_total"
		}
		descs[m] = prometheus.NewDesc(prometheus.BuildFQName("udp", m.Kind, name), m.Help, m.Labels, nil)
	}
	return descs
}()

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for s := range c.set.Samples() {
		typ := prometheus.GaugeValue
		if s.Metric.Type == metrics.Counter {
			typ = prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(descs[s.Metric], typ, s.Value, s.Labels...)
	}
}
