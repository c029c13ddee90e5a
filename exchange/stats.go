package exchange

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	"github.com/udpkit/udp"
)

// Stats are the counters of a [Client]. While no Do begins or ends,
//
//	Requests == Outstanding + Succeeded + Refused + TimedOut + Canceled + Failed
//
// With Config.SocketPerRequest, the system discards datagrams from other addresses, and the socket
// is closed with its request. So Spoofed counts only responses that Match rejects, and Late stays
// near 0.
type Stats struct {
	Outstanding uint64 // calls of Do that have not returned

	Requests  uint64 // calls of Do
	Succeeded uint64 // with a response
	Refused   uint64 // with a *udp.Refusal
	TimedOut  uint64 // with a *TimeoutError
	Canceled  uint64 // with their context's error
	Failed    uint64 // with any other error

	Sent          uint64 // datagrams
	Retransmitted uint64 // of those, datagrams that were not a request's first
	Suppressed    uint64 // retransmissions that were skipped: see Config.RetransmitRate
	SendErrors    uint64 // datagrams that the system did not accept

	Late          uint64 // responses to requests that had ended; duplicates among them
	Spoofed       uint64 // responses with a known key from an address not asked, or rejected by Match
	Unknown       uint64 // responses with a key of no request, or of one that ended long ago
	Malformed     uint64 // datagrams without a key
	StrayRefusals uint64 // ICMP errors about requests that are not pending

	Sockets       uint64 // sockets opened
	Replaced      uint64 // of those, replacements of a shared socket that broke
	Resolved      uint64 // names looked up
	ResolveErrors uint64 // of those, lookups that failed
}

// All yields the counters by name, in a stable order. The names are in snake case.
func (s Stats) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for _, c := range []struct {
			name  string
			value uint64
		}{
			{"outstanding", s.Outstanding},
			{"requests", s.Requests},
			{"succeeded", s.Succeeded},
			{"refused", s.Refused},
			{"timed_out", s.TimedOut},
			{"canceled", s.Canceled},
			{"failed", s.Failed},
			{"sent", s.Sent},
			{"retransmitted", s.Retransmitted},
			{"suppressed", s.Suppressed},
			{"send_errors", s.SendErrors},
			{"late", s.Late},
			{"spoofed", s.Spoofed},
			{"unknown", s.Unknown},
			{"malformed", s.Malformed},
			{"stray_refusals", s.StrayRefusals},
			{"sockets", s.Sockets},
			{"replaced", s.Replaced},
			{"resolved", s.Resolved},
			{"resolve_errors", s.ResolveErrors},
		} {
			if !yield(c.name, float64(c.value)) {
				return
			}
		}
	}
}

type counters struct {
	outstanding                                            atomic.Int64
	requests, succeeded, refused, timedOut, canceled, fail atomic.Uint64
	sent, retransmitted, suppressed, sendErrors            atomic.Uint64
	late, spoofed, unknown, malformed, strayRefusals       atomic.Uint64
	sockets, replaced, resolved, resolveErrors             atomic.Uint64
}

// ended counts a request by its outcome.
func (k *counters) ended(ctx context.Context, err error) {
	counter := &k.fail
	switch {
	case err == nil:
		counter = &k.succeeded
	case errors.Is(err, udp.ErrRefused):
		counter = &k.refused
	case isTimeout(err):
		counter = &k.timedOut
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		counter = &k.canceled
	}
	counter.Add(1)
}

func isTimeout(err error) bool {
	_, ok := errors.AsType[*TimeoutError](err)
	return ok
}

func (k *counters) stats() Stats {
	return Stats{
		Outstanding: uint64(max(0, k.outstanding.Load())),
		Requests:    k.requests.Load(), Succeeded: k.succeeded.Load(), Refused: k.refused.Load(),
		TimedOut: k.timedOut.Load(), Canceled: k.canceled.Load(), Failed: k.fail.Load(),
		Sent: k.sent.Load(), Retransmitted: k.retransmitted.Load(), Suppressed: k.suppressed.Load(),
		SendErrors: k.sendErrors.Load(),
		Late:       k.late.Load(), Spoofed: k.spoofed.Load(), Unknown: k.unknown.Load(),
		Malformed: k.malformed.Load(), StrayRefusals: k.strayRefusals.Load(),
		Sockets: k.sockets.Load(), Replaced: k.replaced.Load(),
		Resolved: k.resolved.Load(), ResolveErrors: k.resolveErrors.Load(),
	}
}
