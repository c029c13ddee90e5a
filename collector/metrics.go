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

	readyDesc = desc("stream_available",
		"Whether the stream takes messages.")
	replayedDesc = desc("spool_replayed_datagrams_total",
		"Datagrams of the spool that the stream acknowledged.")
	duplicatesDesc = desc("stream_duplicates_total",
		"Acknowledgments of messages that the stream had already, by their id.")
	failuresDesc = desc("stream_failures_total",
		"Publications that were not acknowledged; each is spooled or tried again.")
	spoolDesc = desc("spool_datagrams",
		"Datagrams in the spool.")
	spoolBytesDesc = desc("spool_bytes",
		"Size of the files of the spool.")
	spoolMaxDesc = desc("spool_max_bytes",
		"Size that the spool may have.")
	tornDesc = desc("spool_torn_bytes",
		"Bytes of interrupted writes that were cut off when the spool was opened.")
	waitingDesc = desc("waiting_datagrams",
		"Decoded datagrams that wait to be published or spooled.")
)

// Describe implements prometheus.Collector.
func (m own) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m own) Collect(ch chan<- prometheus.Metric) {
	c := m.c
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
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
	p := c.publisher
	p.sources.each(func(source string, drops uint64) { counter(sourceDesc, drops, source) })
	var ready int64
	if c.stream.ready.Load() {
		ready = 1
	}
	gauge(readyDesc, ready)
	counter(replayedDesc, p.replayed.Load())
	counter(duplicatesDesc, p.duplicates.Load())
	counter(failuresDesc, p.failures.Load())
	gauge(spoolDesc, c.spool.records.Load())
	gauge(spoolBytesDesc, c.spool.bytes.Load())
	gauge(spoolMaxDesc, int64(c.cfg.Spool.MaxBytes))
	gauge(tornDesc, c.spool.torn)
	gauge(waitingDesc, int64(len(p.in)))
}
