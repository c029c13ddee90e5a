package session

import (
	"iter"
	"sync/atomic"
)

// Stats are the counters of a [Mux] or [Listener]. While no callback runs,
//
//	Begun == Active + Closed + Idle + Evicted + Failed
//	Received == Delivered + Rejected + Full + BacklogFull + BufferFull + NotListening
type Stats struct {
	Active  uint64 // sessions that have begun and not ended
	Waiting uint64 // of those, sessions that wait for Accept

	Begun    uint64 // sessions
	Accepted uint64 // sessions that Accept returned
	Closed   uint64 // sessions ended by the program, or by Listener.Close before they were accepted
	Idle     uint64 // sessions that ended with ErrIdle
	Evicted  uint64 // sessions that ended with ErrEvicted
	Failed   uint64 // sessions that ended because their socket stopped

	Received     uint64 // datagrams
	Delivered    uint64 // datagrams given to the handler of their session
	Rejected     uint64 // of new peers that Accept or begin rejected, or whose callbacks panicked before Received
	Full         uint64 // datagrams of new peers while all of MaxSessions were confirmed
	BacklogFull  uint64 // datagrams of new peers while the backlog was full
	BufferFull   uint64 // datagrams for which ReadBuffer had no room, or whose Conn was being closed
	NotListening uint64 // datagrams of new peers after Listener.Close

	Cut           uint64 // datagrams longer than the slice given to Read: the rest was lost
	Refused       uint64 // ICMP errors given to a session
	StrayRefusals uint64 // ICMP errors about addresses that have no session
	Panics        uint64 // panics in Stopped; those in other callbacks are counted by the socket
}

// All yields the counters by name, in a stable order. The names are in snake case.
func (s Stats) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for _, c := range []struct {
			name  string
			value uint64
		}{
			{"active", s.Active},
			{"waiting", s.Waiting},
			{"begun", s.Begun},
			{"accepted", s.Accepted},
			{"closed", s.Closed},
			{"idle", s.Idle},
			{"evicted", s.Evicted},
			{"failed", s.Failed},
			{"received", s.Received},
			{"delivered", s.Delivered},
			{"rejected", s.Rejected},
			{"full", s.Full},
			{"backlog_full", s.BacklogFull},
			{"buffer_full", s.BufferFull},
			{"not_listening", s.NotListening},
			{"cut", s.Cut},
			{"refused", s.Refused},
			{"stray_refusals", s.StrayRefusals},
			{"panics", s.Panics},
		} {
			if !yield(c.name, float64(c.value)) {
				return
			}
		}
	}
}

type counters struct {
	active, waiting                       atomic.Int64
	begun, accepted                       atomic.Uint64
	closed, idle, evicted, failed         atomic.Uint64
	received, delivered, rejected, full   atomic.Uint64
	backlogFull, bufferFull, notListening atomic.Uint64
	cut, refused, strayRefusals, panics   atomic.Uint64
}

func (k *counters) stats() Stats {
	s := Stats{
		Active: uint64(max(0, k.active.Load())), Waiting: uint64(max(0, k.waiting.Load())),
		Begun: k.begun.Load(), Accepted: k.accepted.Load(),
		Closed: k.closed.Load(), Idle: k.idle.Load(), Evicted: k.evicted.Load(), Failed: k.failed.Load(),
		Rejected: k.rejected.Load(), Full: k.full.Load(), BacklogFull: k.backlogFull.Load(),
		BufferFull: k.bufferFull.Load(), NotListening: k.notListening.Load(),
		Cut: k.cut.Load(), Refused: k.refused.Load(), StrayRefusals: k.strayRefusals.Load(),
		Panics: k.panics.Load(),
	}
	// delivered also counts the datagrams that the session's Conn had no room for.
	s.Delivered = k.delivered.Load() - s.BufferFull
	s.Received = k.received.Load()
	return s
}
