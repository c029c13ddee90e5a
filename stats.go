package udp

import (
	"fmt"
	"iter"
	"log/slog"
	"strings"

	"github.com/udpkit/udp/internal/stats"
)

// Stats are the counters of one socket since it was opened. While no callback runs or
// is about to run,
//
//	Received == Handled + Dropped.Total()
//
// holds exactly. If the socket's Handler is a [Queue], a datagram is Handled once it
// is in the channel. If it is [Workers], a datagram is Handled when the Handler behind
// them has returned; Received - Handled - Dropped.Total() are in flight. A datagram
// that the user's Handler passes on to a Queue or to Workers is Handled, even if they
// drop it: see [Queue.Stats] and [Workers.Stats].
type Stats struct {
	Received      uint64 // datagrams read from the system
	ReceivedBytes uint64 // their payloads, except for datagrams that Close found in the kernel
	Handled       uint64 // Received returned without [Datagram.Drop]
	Dropped       Drops  // those not handled, by reason
	Reads         uint64 // reads that returned datagrams; Received / Reads is their average
	LargestRead   uint64 // most datagrams returned by one read
	QueuePeak     uint64 // most datagrams that waited in the Queue, or for one worker
	ReadErrors    uint64 // reads that failed without stopping the socket
	Cut           uint64 // datagrams longer than the buffer of a [PacketConn]'s caller; the rest was lost

	// KernelDrops are the datagrams for which the socket's receive buffer had no room.
	// On Linux they include datagrams with a wrong checksum and those that a socket
	// filter rejected. No other counter includes them. A packet that Linux had
	// coalesced counts as one: see [Config.NoOffload]. -1 means unknown, on all
	// systems but Linux and the simulated network.
	KernelDrops int64

	Sent       uint64       // datagrams that the system accepted
	SentBytes  uint64       // their payloads
	SendErrors uint64       // datagrams it did not accept: the error was returned, or see Config.OnSendError
	SendFailed SendFailures // the same by reason
	Retried    uint64       // sends repeated because they returned the error of an older datagram
	Refused    uint64       // ICMP errors passed to Handler.Refused
	// RefusalsLost are ICMP errors that no user's Handler or consumer got: too many
	// waited (see [Handler]), the socket was closed, the control messages were
	// truncated, a Queue or Workers had no room, or WorkersConfig.Key panicked. Only those
	// that a Queue or Workers lost are also in Refused. Those that the kernel drops while the receive buffer is
	// full are not included, because the kernel does not count them.
	RefusalsLost uint64
	// Rebinds are repairs after the socket was destroyed from outside, or its source
	// address was removed.
	Rebinds uint64
	// Panics are panics in callbacks and in Config.Logger. Those in Received are also in
	// Dropped.Panicked.
	Panics uint64
}

// Drops counts datagrams that were read and not handled, by reason.
type Drops struct {
	Queue     uint64 // a Queue or Workers was full, or had ended
	Truncated uint64 // longer than Config.MaxDatagram, or without the control messages it needs
	Stranger  uint64 // unexpected source: not the connected socket's peer; or to a group not joined
	Handler   uint64 // the Handler rejected it: see [Datagram.Drop]
	Panicked  uint64 // Received panicked, or ended its goroutine
	Closed    uint64 // unhandled when the socket was closed; also in the kernel (not on Plan 9)
}

// Total is the sum of all drops.
func (d Drops) Total() uint64 {
	return d.Queue + d.Truncated + d.Stranger + d.Handler + d.Panicked + d.Closed
}

// SendFailures counts the datagrams of Stats.SendErrors by reason.
type SendFailures struct {
	TooLarge    uint64 // ErrTooLarge
	Family      uint64 // ErrFamily, or no valid address
	NoBuffers   uint64 // ENOBUFS or ENOMEM, also after waiting
	Unreachable uint64 // no route, or the interface or the source address was removed
	Denied      uint64 // EPERM, EACCES: a firewall, or a broadcast without Config.Broadcast
	Deadline    uint64 // the write deadline passed
	Closed      uint64 // the socket was closed
	Other       uint64 // anything else
}

// Stats returns the counters. It may be called at any time, from any goroutine,
// and after Close, when it gives the last values.
func (c *Conn) Stats() Stats {
	if !c.ok() {
		return Stats{}
	}
	k := &c.stats
	s := Stats{
		// Read before what they are a part of, so that a poll never shows more
		// handled and dropped than received: what a Queue drops was Handled before.
		Dropped: Drops{
			Queue: k.Dropped[stats.DropQueue].Load(), Truncated: k.Dropped[stats.DropTruncated].Load(),
			Stranger: k.Dropped[stats.DropStranger].Load(), Panicked: k.Dropped[stats.DropPanicked].Load(),
			Handler: k.Dropped[stats.DropHandler].Load(),
			Closed:  k.Dropped[stats.DropClosed].Load(),
		},
		Handled:  uint64(max(0, k.Handled.Load())),
		Received: k.Received.Load(), ReceivedBytes: k.ReceivedBytes.Load(),
		Reads: k.Reads.Load(), ReadErrors: k.ReadErrors.Load(), Cut: k.Cut.Load(),
		LargestRead: k.Largest.Load(), QueuePeak: k.Peak.Load(),
		Sent: k.Sent.Load(), SentBytes: k.SentBytes.Load(),
		Retried: k.Retried.Load(), Refused: k.Refused.Load(), Panics: k.Panics.Load(),
		SendFailed: SendFailures{
			TooLarge: k.Failed[stats.FailTooLarge].Load(), Family: k.Failed[stats.FailFamily].Load(),
			NoBuffers: k.Failed[stats.FailNoBuffers].Load(), Unreachable: k.Failed[stats.FailUnreachable].Load(),
			Denied: k.Failed[stats.FailDenied].Load(), Deadline: k.Failed[stats.FailDeadline].Load(),
			Closed: k.Failed[stats.FailClosed].Load(), Other: k.Failed[stats.FailOther].Load(),
		},
		KernelDrops:  k.Kernel.Sample(c.sock, false),
		RefusalsLost: k.RefusalsLost.Load() + c.sock.LostReports(),
		Rebinds:      c.sock.Rebinds(),
	}
	// Of the counters read above, not read again, because senders change them meanwhile.
	f := &s.SendFailed
	s.SendErrors = f.TooLarge + f.Family + f.NoBuffers + f.Unreachable + f.Denied + f.Deadline + f.Closed + f.Other
	return s
}

// A counter is one field of Stats, except KernelDrops.
type counter struct {
	name    string
	value   *uint64
	maximum bool // not a sum
}

func (s *Stats) counters() []counter {
	return []counter{
		{"received", &s.Received, false},
		{"received_bytes", &s.ReceivedBytes, false},
		{"handled", &s.Handled, false},
		{"dropped_queue", &s.Dropped.Queue, false},
		{"dropped_truncated", &s.Dropped.Truncated, false},
		{"dropped_stranger", &s.Dropped.Stranger, false},
		{"dropped_handler", &s.Dropped.Handler, false},
		{"dropped_panicked", &s.Dropped.Panicked, false},
		{"dropped_closed", &s.Dropped.Closed, false},
		{"reads", &s.Reads, false},
		{"largest_read", &s.LargestRead, true},
		{"queue_peak", &s.QueuePeak, true},
		{"read_errors", &s.ReadErrors, false},
		{"cut", &s.Cut, false},
		{"sent", &s.Sent, false},
		{"sent_bytes", &s.SentBytes, false},
		{"send_errors", &s.SendErrors, false},
		{"send_failed_too_large", &s.SendFailed.TooLarge, false},
		{"send_failed_family", &s.SendFailed.Family, false},
		{"send_failed_no_buffers", &s.SendFailed.NoBuffers, false},
		{"send_failed_unreachable", &s.SendFailed.Unreachable, false},
		{"send_failed_denied", &s.SendFailed.Denied, false},
		{"send_failed_deadline", &s.SendFailed.Deadline, false},
		{"send_failed_closed", &s.SendFailed.Closed, false},
		{"send_failed_other", &s.SendFailed.Other, false},
		{"retried", &s.Retried, false},
		{"refused", &s.Refused, false},
		{"refusals_lost", &s.RefusalsLost, false},
		{"rebinds", &s.Rebinds, false},
		{"panics", &s.Panics, false},
	}
}

// Add adds the counters of t to s. Of the maxima, LargestRead and QueuePeak, the
// greater one stays. KernelDrops is -1 only if it is unknown to both.
func (s *Stats) Add(t Stats) {
	added := t.counters()
	for i, c := range s.counters() {
		if c.maximum {
			*c.value = max(*c.value, *added[i].value)
		} else {
			*c.value += *added[i].value
		}
	}
	switch {
	case t.KernelDrops < 0:
	case s.KernelDrops < 0:
		s.KernelDrops = t.KernelDrops
	default:
		s.KernelDrops += t.KernelDrops
	}
}

// All returns the counters under names that do not change between versions, for
// exporters. Names end in their unit where it is not datagrams. KernelDrops is left
// out if it is unknown.
func (s Stats) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for _, c := range s.counters() {
			if !yield(c.name, float64(*c.value)) {
				return
			}
		}
		if s.KernelDrops >= 0 {
			yield("kernel_drops", float64(s.KernelDrops))
		}
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
