package udpprom

import (
	"iter"

	"github.com/prometheus/client_golang/prometheus"
)

// kind is a kind of source: it has the same metrics for each.
type kind struct {
	metrics map[string]*metric // by the name of the counter in Stats.All
}

// metric is what a counter becomes. Several counters may be one metric, told apart by
// the label reason.
type metric struct {
	desc   *prometheus.Desc
	typ    prometheus.ValueType
	reason string // "": the metric has no such label
}

// described is a metric in words. Its name follows udp_ and the prefix of its kind.
type described struct {
	from, name, help string
	reason           string
	gauge            bool
}

func newKind(prefix string, labels []string, all []described) *kind {
	k := &kind{map[string]*metric{}}
	descs := map[string]*prometheus.Desc{}
	for _, d := range all {
		m := &metric{typ: prometheus.CounterValue, reason: d.reason}
		if d.gauge {
			m.typ = prometheus.GaugeValue
		}
		name := prometheus.BuildFQName("udp", prefix, d.name)
		if m.desc = descs[name]; m.desc == nil {
			names := labels
			if d.reason != "" {
				names = append(names[:len(names):len(names)], "reason")
			}
			m.desc = prometheus.NewDesc(name, d.help, names, nil)
			descs[name] = m.desc
		}
		k.metrics[d.from] = m
	}
	return k
}

func (k *kind) describe(ch chan<- *prometheus.Desc) {
	sent := map[*prometheus.Desc]bool{}
	for _, m := range k.metrics {
		if !sent[m.desc] {
			sent[m.desc] = true
			ch <- m.desc
		}
	}
}

func (k *kind) collect(ch chan<- prometheus.Metric, labels []string, stats iter.Seq2[string, float64]) {
	for name, v := range stats {
		m := k.metrics[name]
		if m == nil {
			continue // the sum of others
		}
		values := labels
		if m.reason != "" {
			values = append(values[:len(values):len(values)], m.reason)
		}
		ch <- prometheus.MustNewConstMetric(m.desc, m.typ, v, values...)
	}
}

var kinds = []*kind{sockets, queues, workers, sessions, exchanges, limiters}

var socketInfo = prometheus.NewDesc("udp_socket_info", "What the socket was granted; the value is always 1.",
	[]string{"socket", "group", "address", "gro", "gso", "steering"}, nil)

const (
	dropped    = "Datagrams read from the system and not handled."
	sendFailed = "Datagrams that the system did not take, by the reason."
)

var sockets = newKind("socket", []string{"socket", "group"}, []described{
	{from: "received", name: "received_datagrams_total", help: "Datagrams read from the system."},
	{from: "received_bytes", name: "received_bytes_total", help: "Payloads of the datagrams received."},
	{from: "handled", name: "handled_datagrams_total", help: "Datagrams that the handler has taken."},
	{from: "dropped_queue", name: "dropped_datagrams_total", help: dropped, reason: "queue"},
	{from: "dropped_truncated", name: "dropped_datagrams_total", help: dropped, reason: "truncated"},
	{from: "dropped_stranger", name: "dropped_datagrams_total", help: dropped, reason: "stranger"},
	{from: "dropped_handler", name: "dropped_datagrams_total", help: dropped, reason: "handler"},
	{from: "dropped_panicked", name: "dropped_datagrams_total", help: dropped, reason: "panicked"},
	{from: "dropped_closed", name: "dropped_datagrams_total", help: dropped, reason: "closed"},
	{from: "kernel_drops", name: "kernel_dropped_datagrams_total",
		help: "Datagrams that the system dropped since the receive buffer was full, or a checksum was wrong."},
	{from: "reads", name: "reads_total", help: "Reads that brought datagrams."},
	{from: "largest_read", name: "largest_read_datagrams", help: "The most datagrams that one read has brought.", gauge: true},
	{from: "queue_peak", name: "queue_peak_datagrams", gauge: true,
		help: "The most datagrams that have waited in the queue, or for one goroutine of the workers."},
	{from: "read_errors", name: "read_errors_total", help: "Reads that failed and were survived."},
	{from: "cut", name: "cut_datagrams_total", help: "Datagrams read into a buffer that was too short."},
	{from: "sent", name: "sent_datagrams_total", help: "Datagrams that the system took."},
	{from: "sent_bytes", name: "sent_bytes_total", help: "Payloads of the datagrams sent."},
	{from: "send_failed_too_large", name: "send_failed_datagrams_total", help: sendFailed, reason: "too_large"},
	{from: "send_failed_family", name: "send_failed_datagrams_total", help: sendFailed, reason: "family"},
	{from: "send_failed_no_buffers", name: "send_failed_datagrams_total", help: sendFailed, reason: "no_buffers"},
	{from: "send_failed_unreachable", name: "send_failed_datagrams_total", help: sendFailed, reason: "unreachable"},
	{from: "send_failed_denied", name: "send_failed_datagrams_total", help: sendFailed, reason: "denied"},
	{from: "send_failed_deadline", name: "send_failed_datagrams_total", help: sendFailed, reason: "deadline"},
	{from: "send_failed_closed", name: "send_failed_datagrams_total", help: sendFailed, reason: "closed"},
	{from: "send_failed_other", name: "send_failed_datagrams_total", help: sendFailed, reason: "other"},
	{from: "retried", name: "sends_retried_total", help: "Sends repeated since they met the error of an older datagram."},
	{from: "refused", name: "refusals_total", help: "ICMP errors passed to the handler."},
	{from: "refusals_lost", name: "refusals_lost_total", help: "ICMP errors that the handler was not told of."},
	{from: "rebinds", name: "rebinds_total", help: "Repairs of a socket that was destroyed from outside."},
	{from: "panics", name: "panics_total", help: "Panics in callbacks."},
})

var queues = newKind("queue", []string{"queue"}, []described{
	{from: "received", name: "received_datagrams_total", help: "Datagrams given to the queue."},
	{from: "dropped", name: "dropped_datagrams_total", help: "Datagrams for which there was no room."},
	{from: "waiting", name: "waiting_datagrams", help: "Datagrams that wait for a consumer.", gauge: true},
	{from: "peak", name: "peak_datagrams", help: "The most datagrams that have waited.", gauge: true},
})

var workers = newKind("workers", []string{"workers"}, []described{
	{from: "received", name: "received_datagrams_total", help: "Datagrams given to the workers."},
	{from: "handled", name: "handled_datagrams_total", help: "Datagrams that the handler has taken."},
	{from: "dropped", name: "dropped_datagrams_total", help: "Datagrams not handled.", reason: "full"},
	{from: "panicked", name: "dropped_datagrams_total", reason: "panicked"},
	{from: "closed", name: "dropped_datagrams_total", reason: "closed"},
	{from: "waiting", name: "waiting_datagrams", help: "Datagrams that wait for a goroutine.", gauge: true},
	{from: "peak", name: "peak_datagrams", help: "The most datagrams that have waited for one goroutine.", gauge: true},
})

const (
	ended    = "Sessions that have ended."
	rejected = "Datagrams that no session got."
)

var sessions = newKind("session", []string{"sessions"}, []described{
	{from: "active", name: "active_sessions", help: "Sessions that have begun and not ended.", gauge: true},
	{from: "waiting", name: "waiting_sessions", help: "Sessions that wait for Accept.", gauge: true},
	{from: "begun", name: "begun_sessions_total", help: "Sessions that have begun."},
	{from: "accepted", name: "accepted_sessions_total", help: "Sessions that Accept has returned."},
	{from: "closed", name: "ended_sessions_total", help: ended, reason: "closed"},
	{from: "idle", name: "ended_sessions_total", help: ended, reason: "idle"},
	{from: "evicted", name: "ended_sessions_total", help: ended, reason: "evicted"},
	{from: "failed", name: "ended_sessions_total", help: ended, reason: "failed"},
	{from: "received", name: "received_datagrams_total", help: "Datagrams received."},
	{from: "delivered", name: "delivered_datagrams_total", help: "Datagrams given to the handler of their session."},
	{from: "rejected", name: "rejected_datagrams_total", help: rejected, reason: "rejected"},
	{from: "full", name: "rejected_datagrams_total", help: rejected, reason: "full"},
	{from: "backlog_full", name: "rejected_datagrams_total", help: rejected, reason: "backlog_full"},
	{from: "buffer_full", name: "rejected_datagrams_total", help: rejected, reason: "buffer_full"},
	{from: "not_listening", name: "rejected_datagrams_total", help: rejected, reason: "not_listening"},
	{from: "cut", name: "cut_datagrams_total", help: "Datagrams longer than the slice given to Read."},
	{from: "refused", name: "refusals_total", help: "ICMP errors given to a session."},
	{from: "stray_refusals", name: "stray_refusals_total", help: "ICMP errors about addresses that have no session."},
	{from: "panics", name: "panics_total", help: "Panics in Stopped."},
})

const (
	requestsEnded = "Requests that have ended, by the result."
	unexpected    = "Datagrams that are no response to a request that waits."
)

var exchanges = newKind("exchange", []string{"client"}, []described{
	{from: "outstanding", name: "outstanding_requests", help: "Requests that wait for a response.", gauge: true},
	{from: "requests", name: "requests_total", help: "Requests begun."},
	{from: "succeeded", name: "ended_requests_total", help: requestsEnded, reason: "succeeded"},
	{from: "refused", name: "ended_requests_total", help: requestsEnded, reason: "refused"},
	{from: "timed_out", name: "ended_requests_total", help: requestsEnded, reason: "timed_out"},
	{from: "canceled", name: "ended_requests_total", help: requestsEnded, reason: "canceled"},
	{from: "failed", name: "ended_requests_total", help: requestsEnded, reason: "failed"},
	{from: "sent", name: "sent_datagrams_total", help: "Datagrams sent."},
	{from: "retransmitted", name: "retransmitted_datagrams_total", help: "Datagrams that were not the first of a request."},
	{from: "suppressed", name: "suppressed_datagrams_total", help: "Retransmissions skipped since too many were due."},
	{from: "send_errors", name: "send_failed_datagrams_total", help: "Datagrams that the system did not take."},
	{from: "late", name: "unexpected_datagrams_total", help: unexpected, reason: "late"},
	{from: "spoofed", name: "unexpected_datagrams_total", help: unexpected, reason: "spoofed"},
	{from: "unknown", name: "unexpected_datagrams_total", help: unexpected, reason: "unknown"},
	{from: "malformed", name: "unexpected_datagrams_total", help: unexpected, reason: "malformed"},
	{from: "stray_refusals", name: "stray_refusals_total", help: "ICMP errors about no request that waits."},
	{from: "sockets", name: "sockets_opened_total", help: "Sockets opened."},
	{from: "replaced", name: "sockets_replaced_total", help: "Shared sockets that broke and were replaced."},
	{from: "resolved", name: "names_resolved_total", help: "Names looked up."},
	{from: "resolve_errors", name: "resolve_errors_total", help: "Names looked up without success."},
})

const limited = "Datagrams rejected."

var limiters = newKind("limit", []string{"limiter"}, []described{
	{from: "sources", name: "sources", help: "Source prefixes in the table.", gauge: true},
	{from: "addresses", name: "addresses", help: "Addresses in the table.", gauge: true},
	{from: "received", name: "received_datagrams_total", help: "Datagrams received."},
	{from: "admitted", name: "admitted_datagrams_total", help: "Datagrams passed on."},
	{from: "limited", name: "rejected_datagrams_total", help: limited, reason: "limited"},
	{from: "overflowed", name: "rejected_datagrams_total", help: limited, reason: "overflowed"},
	{from: "replaced", name: "replaced_sources_total", help: "Sources that made room for others."},
	{from: "forgotten", name: "forgotten_addresses_total", help: "Addresses that made room for others."},
	{from: "replied", name: "replied_datagrams_total", help: "Datagrams that Reply has sent."},
	{from: "replied_bytes", name: "replied_bytes_total", help: "Payloads of the datagrams that Reply has sent."},
	{from: "capped", name: "capped_datagrams_total", help: "Datagrams that Reply did not send: they would amplify."},
	{from: "capped_bytes", name: "capped_bytes_total", help: "Payloads of the datagrams that Reply did not send."},
})
