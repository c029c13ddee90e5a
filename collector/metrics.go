package main

import "github.com/prometheus/client_golang/prometheus"

// own is a prometheus.Collector of what happens behind the sockets; udpprom has
// those of the sockets.
type own struct{ c *Collector }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("collector_"+name, help, labels, nil)
}

var (
	receivedDesc = desc("datagrams_received_total",
		"Datagrams that reached the decoder.", "input")
	malformedDesc = desc("datagrams_malformed_total",
		"Datagrams that are not of the input's format.", "input")
	acceptedDesc = desc("datagrams_accepted_total",
		"Datagrams that are safe: acknowledged by the stream without having been in the spool (stream), or written to the spool (spool).", "input", "by")
	droppedDesc = desc("datagrams_dropped_total",
		"Datagrams that were dropped behind the sockets, by reason.", "input", "reason")
	sourceDesc = desc("source_dropped_datagrams_total",
		"Datagrams that were dropped behind the sockets, by the sender's address; those without a count of their own are other.", "source")
)

// single are the metrics without labels.
var single = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(c *Collector) int64
}{
	{desc("stream_available", "Whether the stream takes messages."), prometheus.GaugeValue, func(c *Collector) int64 {
		if c.stream.ready.Load() {
			return 1
		}
		return 0
	}},
	{desc("spool_replayed_datagrams_total", "Datagrams of the spool that the stream acknowledged."),
		prometheus.CounterValue, func(c *Collector) int64 { return int64(c.publisher.replayed.Load()) }},
	{desc("stream_duplicates_total", "Acknowledgments of messages that the stream had already, by their id."),
		prometheus.CounterValue, func(c *Collector) int64 { return int64(c.publisher.duplicates.Load()) }},
	{desc("stream_failures_total", "Publications that were not acknowledged; each is spooled or tried again."),
		prometheus.CounterValue, func(c *Collector) int64 { return int64(c.publisher.failures.Load()) }},
	{desc("spool_datagrams", "Datagrams in the spool."),
		prometheus.GaugeValue, func(c *Collector) int64 { return c.spool.records.Load() }},
	{desc("spool_bytes", "Size of the files of the spool."),
		prometheus.GaugeValue, func(c *Collector) int64 { return c.spool.bytes.Load() }},
	{desc("spool_max_bytes", "Size that the spool may have."),
		prometheus.GaugeValue, func(c *Collector) int64 { return int64(c.cfg.Spool.MaxBytes) }},
	{desc("spool_torn_bytes", "Bytes of interrupted writes that were cut off when the spool was opened."),
		prometheus.GaugeValue, func(c *Collector) int64 { return c.spool.torn }},
	{desc("waiting_datagrams", "Decoded datagrams that wait to be published or spooled."),
		prometheus.GaugeValue, func(c *Collector) int64 { return int64(len(c.publisher.in)) }},
}

// Describe implements prometheus.Collector.
func (m own) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m own) Collect(ch chan<- prometheus.Metric) {
	c := m.c
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for _, s := range c.sources {
		name := s.input.Name
		counter(receivedDesc, s.counters.received.Load(), name)
		counter(malformedDesc, s.counters.malformed.Load(), name)
		counter(acceptedDesc, s.counters.stream.Load(), name, "stream")
		counter(acceptedDesc, s.counters.spool.Load(), name, "spool")
		for why := range reasons {
			counter(droppedDesc, s.counters.dropped[why].Load(), name, why.String())
		}
	}
	c.publisher.sources.each(func(source string, drops uint64) { counter(sourceDesc, drops, source) })
	for _, m := range single {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(c)))
	}
}
