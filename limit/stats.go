package limit

import (
	"iter"
	"sync/atomic"
)

// Stats are the counters of a [Limiter].
//
//	Received == Admitted + Limited + Overflowed
type Stats struct {
	Sources   uint64 // in the table now
	Addresses uint64 // unvalidated addresses in the table now

	Received   uint64 // datagrams
	Admitted   uint64 // datagrams passed on
	Limited    uint64 // datagrams rejected because their source exceeded Rate and Burst
	Overflowed uint64 // datagrams rejected because the sources without a bucket exceeded OverflowRate
	Replaced   uint64 // sources with a full bucket that were replaced by others
	Forgotten  uint64 // addresses replaced by others: Reply fails until a datagram from them is admitted

	Replied      uint64 // datagrams that Reply sent
	RepliedBytes uint64 // their payloads
	Capped       uint64 // datagrams that Reply did not send: ErrAmplification
	CappedBytes  uint64 // their payloads
}

// All yields the counters by name, in a stable order. The names are in snake case.
func (s Stats) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for _, c := range []struct {
			name  string
			value uint64
		}{
			{"sources", s.Sources},
			{"addresses", s.Addresses},
			{"received", s.Received},
			{"admitted", s.Admitted},
			{"limited", s.Limited},
			{"overflowed", s.Overflowed},
			{"replaced", s.Replaced},
			{"forgotten", s.Forgotten},
			{"replied", s.Replied},
			{"replied_bytes", s.RepliedBytes},
			{"capped", s.Capped},
			{"capped_bytes", s.CappedBytes},
		} {
			if !yield(c.name, float64(c.value)) {
				return
			}
		}
	}
}

type counters struct {
	received, admitted, limited, overflowed    atomic.Uint64
	replaced, forgotten                        atomic.Uint64
	replied, repliedBytes, capped, cappedBytes atomic.Uint64
}

func (k *counters) stats() Stats {
	return Stats{
		Admitted: k.admitted.Load(), Limited: k.limited.Load(), Overflowed: k.overflowed.Load(),
		Received: k.received.Load(), Replaced: k.replaced.Load(), Forgotten: k.forgotten.Load(),
		Replied: k.replied.Load(), RepliedBytes: k.repliedBytes.Load(),
		Capped: k.capped.Load(), CappedBytes: k.cappedBytes.Load(),
	}
}
