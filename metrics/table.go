package metrics

import (
	"iter"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/limit"
	"github.com/udpkit/udp/session"
)

// row is a metric and the counters of Stats.All that it shows. Of several counters, each is
// distinguished by a reason: the counter's name, the words after "=", or the part for which
// "*" stands.
type row struct {
	typ                  Type
	name, counters, help string
}

// kinds are the kinds of sources, with all counters that there are and the metrics that show
// them. Only the sums of others have none: send_errors of a socket.
var kinds = []struct {
	name     string
	counters iter.Seq2[string, float64]
	rows     []row
}{
	{socketKind, udp.Stats{}.All(), []row{
		{Counter, "received_datagrams", "received", "Datagrams read from the system."},
		{Counter, "received_bytes", "received_bytes", "Payloads of the datagrams received."},
		{Counter, "handled_datagrams", "handled", "Datagrams for which the handler has returned."},
		{Counter, "dropped_datagrams", "dropped_*", "Datagrams read from the system and not handled."},
		{Counter, "kernel_dropped_datagrams", "kernel_drops",
			"Datagrams that the system dropped because the receive buffer was full or a checksum was wrong."},
		{Counter, "reads", "reads", "Reads that returned datagrams."},
		{Maximum, "largest_read_datagrams", "largest_read", "The most datagrams that one read has returned."},
		{Maximum, "queue_peak_datagrams", "queue_peak",
			"The most datagrams that have waited in the queue, or for one goroutine of the workers."},
		{Counter, "read_errors", "read_errors", "Reads that failed without stopping the socket."},
		{Counter, "cut_datagrams", "cut", "Datagrams read into a buffer that was too short."},
		{Counter, "sent_datagrams", "sent", "Datagrams that the system accepted."},
		{Counter, "sent_bytes", "sent_bytes", "Payloads of the datagrams sent."},
		{Counter, "send_failed_datagrams", "send_failed_*", "Datagrams that the system did not accept."},
		{Counter, "retried_sends", "retried", "Sends repeated because they returned the error of an older datagram."},
		{Counter, "refusals", "refused", "ICMP errors passed to the handler."},
		{Counter, "lost_refusals", "refusals_lost", "ICMP errors that the handler was not called for."},
		{Counter, "rebinds", "rebinds", "Repairs of a socket that was destroyed from outside, or whose source address was removed."},
		{Counter, "panics", "panics", "Panics in callbacks and in the Logger."},
	}},
	{"queue", udp.QueueStats{}.All(), []row{
		{Counter, "received_datagrams", "received", "Datagrams given to the queue."},
		{Counter, "dropped_datagrams", "dropped", "Datagrams for which there was no room, or that arrived after the queue ended."},
		{Gauge, "waiting_datagrams", "waiting", "Datagrams that wait for a consumer."},
		{Maximum, "peak_datagrams", "peak", "The most datagrams that have waited."},
	}},
	{"workers", udp.WorkersStats{}.All(), []row{
		{Counter, "received_datagrams", "received", "Datagrams given to the workers."},
		{Counter, "handled_datagrams", "handled", "Datagrams for which the handler has returned."},
		{Counter, "dropped_datagrams", "dropped=full panicked closed", "Datagrams not handled."},
		{Gauge, "waiting_datagrams", "waiting", "Datagrams that wait for a goroutine."},
		{Maximum, "peak_datagrams", "peak", "The most datagrams that have waited for one goroutine."},
	}},
	{"session", session.Stats{}.All(), []row{
		{Gauge, "active_sessions", "active", "Sessions that have begun and not ended."},
		{Gauge, "waiting_sessions", "waiting", "Sessions that wait for Accept."},
		{Counter, "begun_sessions", "begun", "Sessions that have begun."},
		{Counter, "accepted_sessions", "accepted", "Sessions that Accept has returned."},
		{Counter, "ended_sessions", "closed idle evicted failed", "Sessions that have ended."},
		{Counter, "received_datagrams", "received", "Datagrams received."},
		{Counter, "delivered_datagrams", "delivered", "Datagrams given to the handler of their session."},
		{Counter, "rejected_datagrams", "rejected full backlog_full buffer_full not_listening", "Datagrams that were not given to a session."},
		{Counter, "cut_datagrams", "cut", "Datagrams longer than the slice given to Read."},
		{Counter, "refusals", "refused", "ICMP errors given to a session."},
		{Counter, "stray_refusals", "stray_refusals", "ICMP errors about addresses that have no session."},
		{Counter, "panics", "panics", "Panics in Stopped."},
	}},
	{"exchange", exchange.Stats{}.All(), []row{
		{Gauge, "outstanding_requests", "outstanding", "Requests that wait for a response."},
		{Counter, "requests", "requests", "Requests begun."},
		{Counter, "ended_requests", "succeeded refused timed_out canceled failed", "Requests that have ended."},
		{Counter, "sent_datagrams", "sent", "Datagrams sent."},
		{Counter, "retransmitted_datagrams", "retransmitted", "Datagrams that were not the first of a request."},
		{Counter, "suppressed_datagrams", "suppressed", "Retransmissions skipped because of the rate limit."},
		{Counter, "send_failed_datagrams", "send_errors", "Datagrams that the system did not accept."},
		{Counter, "unexpected_datagrams", "late spoofed unknown malformed", "Datagrams that are not a response to a pending request."},
		{Counter, "stray_refusals", "stray_refusals", "ICMP errors about requests that are not pending."},
		{Counter, "opened_sockets", "sockets", "Sockets opened."},
		{Counter, "replaced_sockets", "replaced", "Shared sockets that broke and were replaced."},
		{Counter, "resolved_names", "resolved", "Names looked up."},
		{Counter, "resolve_errors", "resolve_errors", "Names looked up without success."},
	}},
	{"limit", limit.Stats{}.All(), []row{
		{Gauge, "sources", "sources", "Source prefixes in the table."},
		{Gauge, "addresses", "addresses", "Unvalidated addresses in the table."},
		{Counter, "received_datagrams", "received", "Datagrams received."},
		{Counter, "admitted_datagrams", "admitted", "Datagrams passed on."},
		{Counter, "rejected_datagrams", "limited overflowed", "Datagrams rejected."},
		{Counter, "replaced_sources", "replaced", "Source prefixes replaced by others."},
		{Counter, "forgotten_addresses", "forgotten", "Unvalidated addresses replaced by others."},
		{Counter, "replied_datagrams", "replied", "Datagrams that Reply has sent."},
		{Counter, "replied_bytes", "replied_bytes", "Payloads of the datagrams that Reply has sent."},
		{Counter, "capped_datagrams", "capped", "Datagrams that Reply did not send to an unvalidated address."},
		{Counter, "capped_bytes", "capped_bytes", "Payloads of the datagrams that Reply did not send."},
	}},
}
