package udp

import (
	"fmt"
	"iter"
	"log/slog"
	"strings"
)

// Add adds the counters of t to s. Of the maxima, LargestRead and QueuePeak, the
// greater one stays. KernelDrops is -1 only if it is unknown to both.
func (s *Stats) Add(t Stats) {
	s.Received += t.Received
	s.ReceivedBytes += t.ReceivedBytes
	s.Handled += t.Handled
	s.Dropped.add(t.Dropped)
	s.Reads += t.Reads
	s.LargestRead = max(s.LargestRead, t.LargestRead)
	s.QueuePeak = max(s.QueuePeak, t.QueuePeak)
	s.ReadErrors += t.ReadErrors
	s.Cut += t.Cut
	switch {
	case t.KernelDrops < 0:
	case s.KernelDrops < 0:
		s.KernelDrops = t.KernelDrops
	default:
		s.KernelDrops += t.KernelDrops
	}
	s.Sent += t.Sent
	s.SentBytes += t.SentBytes
	s.SendErrors += t.SendErrors
	s.SendFailed.add(t.SendFailed)
	s.Retried += t.Retried
	s.Refused += t.Refused
	s.RefusalsLost += t.RefusalsLost
	s.Rebinds += t.Rebinds
	s.Panics += t.Panics
}

func (d *Drops) add(e Drops) {
	d.Queue += e.Queue
	d.Truncated += e.Truncated
	d.Stranger += e.Stranger
	d.Handler += e.Handler
	d.Panicked += e.Panicked
	d.Closed += e.Closed
}

func (f *SendFailures) add(g SendFailures) {
	f.TooLarge += g.TooLarge
	f.Family += g.Family
	f.NoBuffers += g.NoBuffers
	f.Unreachable += g.Unreachable
	f.Denied += g.Denied
	f.Deadline += g.Deadline
	f.Closed += g.Closed
	f.Other += g.Other
}

// All returns the counters under names that do not change between versions, for
// exporters. Names end in their unit where it is not datagrams. KernelDrops is left
// out if it is unknown.
func (s Stats) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for _, v := range []struct {
			name  string
			value uint64
		}{
			{"received", s.Received},
			{"received_bytes", s.ReceivedBytes},
			{"handled", s.Handled},
			{"dropped_queue", s.Dropped.Queue},
			{"dropped_truncated", s.Dropped.Truncated},
			{"dropped_stranger", s.Dropped.Stranger},
			{"dropped_handler", s.Dropped.Handler},
			{"dropped_panicked", s.Dropped.Panicked},
			{"dropped_closed", s.Dropped.Closed},
			{"reads", s.Reads},
			{"largest_read", s.LargestRead},
			{"queue_peak", s.QueuePeak},
			{"read_errors", s.ReadErrors},
			{"cut", s.Cut},
			{"sent", s.Sent},
			{"sent_bytes", s.SentBytes},
			{"send_errors", s.SendErrors},
			{"send_failed_too_large", s.SendFailed.TooLarge},
			{"send_failed_family", s.SendFailed.Family},
			{"send_failed_no_buffers", s.SendFailed.NoBuffers},
			{"send_failed_unreachable", s.SendFailed.Unreachable},
			{"send_failed_denied", s.SendFailed.Denied},
			{"send_failed_deadline", s.SendFailed.Deadline},
			{"send_failed_closed", s.SendFailed.Closed},
			{"send_failed_other", s.SendFailed.Other},
			{"retried", s.Retried},
			{"refused", s.Refused},
			{"refusals_lost", s.RefusalsLost},
			{"rebinds", s.Rebinds},
			{"panics", s.Panics},
		} {
			if !yield(v.name, float64(v.value)) {
				return
			}
		}
		if s.KernelDrops >= 0 {
			yield("kernel_drops", float64(s.KernelDrops))
		}
	}
}

// All is like [Stats.All].
func (s QueueStats) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		_ = yield("received", float64(s.Received)) && yield("dropped", float64(s.Dropped)) &&
			yield("peak", float64(s.Peak)) && yield("waiting", float64(s.Waiting))
	}
}

// All is like [Stats.All].
func (s WorkersStats) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		_ = yield("received", float64(s.Received)) && yield("handled", float64(s.Handled)) &&
			yield("dropped", float64(s.Dropped)) && yield("panicked", float64(s.Panicked)) &&
			yield("closed", float64(s.Closed)) && yield("peak", float64(s.Peak)) &&
			yield("waiting", float64(s.Waiting))
	}
}

// String lists the counters that are not zero, for people.
func (s Stats) String() string {
	var b strings.Builder
	for name, v := range s.All() {
		if v != 0 {
			fmt.Fprintf(&b, " %s=%.0f", name, v)
		}
	}
	return strings.TrimPrefix(b.String(), " ")
}

// LogValue implements [slog.LogValuer]: a group of the counters that are not zero.
func (s Stats) LogValue() slog.Value {
	var attrs []slog.Attr
	for name, v := range s.All() {
		if v != 0 {
			attrs = append(attrs, slog.Uint64(name, uint64(v)))
		}
	}
	return slog.GroupValue(attrs...)
}

// LogValue implements [slog.LogValuer].
func (c *Conn) LogValue() slog.Value {
	if !c.ok() {
		return slog.StringValue(c.String())
	}
	attrs := []slog.Attr{slog.String("network", c.network), slog.String("local", c.LocalAddrPort().String())}
	if p := c.peer.current.Load(); p != nil {
		attrs = append(attrs, slog.String("peer", p.String()))
	}
	if c.closed() {
		attrs = append(attrs, slog.Bool("closed", true))
	}
	return slog.GroupValue(attrs...)
}

// LogValue implements [slog.LogValuer].
func (r *Refusal) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("peer", r.Peer.String()), slog.Any("error", r.Err)}
	if r.Offender.IsValid() {
		attrs = append(attrs, slog.String("offender", r.Offender.String()),
			slog.Int("type", int(r.Type)), slog.Int("code", int(r.Code)))
	}
	if r.MTU > 0 {
		attrs = append(attrs, slog.Int("mtu", r.MTU))
	}
	return slog.GroupValue(attrs...)
}
