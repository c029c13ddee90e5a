package udptest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Faults are what one direction of a link does to datagrams. The zero value delivers each
// datagram once, after [LinkTime].
//
// Probabilities are from 0 to 1. Sizes are bytes of whole IP packets, headers included. Times
// are rounded to whole microseconds: Jitter down, all others up.
//
// A datagram meets the faults in this order: Down, MTU, Script, Exact, Burst, Loss, Rate with
// its queue, Corrupt, the delays, Duplicate.
type Faults struct {
	// The everyday faults.
	Loss      float64       // probability that a datagram is lost, independently of others
	Duplicate float64       // probability that a datagram arrives twice
	Latency   time.Duration // delay of every datagram, in addition to LinkTime
	Jitter    time.Duration // additional delay, uniformly distributed from 0 to this
	Rate      int           // bits per second; 0: unlimited
	Down      bool          // every datagram is lost

	// Other models of loss. They add to Loss and to each other.
	Script Script // chooses the datagrams that are lost, for example DropNth(3)
	Exact  Exact  // loses an exact share
	Burst  Burst  // loses several datagrams in a row

	// The order of arrival. With Jitter alone, datagrams overtake each other.
	Ordered   bool          // datagrams arrive in order, even with Jitter
	Reorder   float64       // probability that a datagram is delayed by ReorderBy
	ReorderBy time.Duration // additional delay, so that later datagrams overtake

	// The queue before a link with a Rate, a token bucket.
	Depth int // bytes that an idle link sends at once, before Rate applies
	Queue int // bytes that may wait; further datagrams are lost; 0: 256 KiB

	// The size of datagrams. An MTU shorter than the sending interface's returns an ICMP error
	// ("too big" or "fragmentation needed"). The sending host learns the MTU from it: later
	// datagrams are fragmented, or fail with EMSGSIZE (udp.MTUDiscoveryDo). The faults apply to
	// the whole datagram, not to each fragment.
	MTU       int  // longest packet that passes; 0: any
	BlackHole bool // longer packets are lost without an ICMP error

	// The content of datagrams.
	Corrupt float64 // probability that one bit of the payload is inverted
}

// A Burst is the loss model of Gilbert and Elliott. The link is in a good or in a bad state,
// and each state has a probability of loss. Every datagram first changes the state with the
// probability Begin or End, and is then subject to the loss of the state. On average, a share
// of Begin/(Begin+End) of the datagrams meets the bad state, in runs of 1/End datagrams.
type Burst struct {
	Begin float64 // probability that a good link turns bad
	End   float64 // probability that a bad link turns good
	Good  float64 // loss in the good state
	Bad   float64 // loss in the bad state
}

// Exact loses exactly Lost of every Of datagrams. The seed determines which.
type Exact struct {
	Lost, Of int // as in "3 of 100"
}

// A Script reports whether a datagram is lost. The number is 1 for the first datagram that
// enters the link after [Pipe.Set]. A Script is called with locks held, so it must not use
// the network.
type Script func(number int, p Packet) (lost bool)

// DropNth returns a Script that loses the datagrams with these numbers: DropNth(3) loses the
// third.
func DropNth(numbers ...int) Script {
	return func(number int, _ Packet) bool { return slices.Contains(numbers, number) }
}

// LinkTime is how long a datagram takes from one interface of a segment to another when the
// links have no faults.
//
// LinkTime makes runs repeatable. No datagram arrives at the instant at which it was sent, so
// all arrivals of an instant are known before the first is delivered. It is no whole number of
// microseconds, while faults are. So no datagram arrives at a round time, when timers expire,
// unless it crosses a thousand segments.
const LinkTime = 1001 * time.Nanosecond

const defaultQueue = 256 << 10

// Validate returns an error that names the first field with an invalid value.
func (f Faults) Validate() error {
	for _, p := range []struct {
		name string
		p    float64
	}{
		{"Loss", f.Loss}, {"Burst.Begin", f.Burst.Begin}, {"Burst.End", f.Burst.End},
		{"Burst.Good", f.Burst.Good}, {"Burst.Bad", f.Burst.Bad}, {"Duplicate", f.Duplicate},
		{"Reorder", f.Reorder}, {"Corrupt", f.Corrupt},
	} {
		if !(p.p >= 0 && p.p <= 1) { // NaN too
			return fmt.Errorf("udptest: %s is a probability and not from 0 to 1: %v", p.name, p.p)
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"Latency", f.Latency}, {"Jitter", f.Jitter}, {"ReorderBy", f.ReorderBy}} {
		if d.d < 0 {
			return fmt.Errorf("udptest: %s is negative: %v", d.name, d.d)
		}
		if d.d > longest {
			return fmt.Errorf("udptest: %s is longer than %v: %v", d.name, longest, d.d)
		}
	}
	for _, i := range []struct {
		name string
		n    int
	}{
		{"Rate", f.Rate}, {"Depth", f.Depth}, {"Queue", f.Queue}, {"MTU", f.MTU},
		{"Exact.Lost", f.Exact.Lost}, {"Exact.Of", f.Exact.Of},
	} {
		if i.n < 0 {
			return fmt.Errorf("udptest: %s is negative: %d", i.name, i.n)
		}
	}
	switch {
	case f.Exact.Of > 0 && f.Exact.Lost == 0:
		return fmt.Errorf("udptest: Exact.Lost is 0 of %d", f.Exact.Of)
	case f.Exact.Lost > f.Exact.Of:
		return fmt.Errorf("udptest: Exact.Lost is %d, more than Exact.Of: %d", f.Exact.Lost, f.Exact.Of)
	case f.Reorder > 0 && f.ReorderBy == 0:
		return fmt.Errorf("udptest: Reorder needs ReorderBy")
	case f.ReorderBy > 0 && f.Reorder == 0:
		return fmt.Errorf("udptest: ReorderBy has no effect without Reorder")
	case f.Ordered && f.Jitter == 0:
		return fmt.Errorf("udptest: Ordered has no effect without Jitter")
	case f.Rate == 0 && (f.Depth > 0 || f.Queue > 0):
		return fmt.Errorf("udptest: Depth and Queue have no effect without Rate")
	case f.MTU > 0 && f.MTU < 68:
		return fmt.Errorf("udptest: MTU is %d, and the minimum is 68 (RFC 791)", f.MTU)
	case f.BlackHole && f.MTU == 0:
		return fmt.Errorf("udptest: BlackHole has no effect without MTU")
	case f.Burst.Bad > 0 && f.Burst.Begin == 0:
		return fmt.Errorf("udptest: Burst.Bad has no effect without Burst.Begin")
	case f.Burst != Burst{} && f.Burst.Good == 0 && f.Burst.Bad == 0:
		return fmt.Errorf("udptest: Burst has no effect without Burst.Good or Burst.Bad")
	case f.Ordered && f.Reorder > 0:
		return fmt.Errorf("udptest: Ordered contradicts Reorder")
	}
	return nil
}

// none reports whether f has no effect.
func (f *Faults) none() bool {
	return !f.Down && !f.random() && f.Exact.Lost == 0 && f.Script == nil &&
		f.Latency == 0 && f.Rate == 0 && f.MTU == 0
}

// random reports whether f needs random decisions.
func (f *Faults) random() bool {
	return f.Loss > 0 || f.Burst != Burst{} || f.Duplicate > 0 || f.Jitter > 0 || f.Reorder > 0 || f.Corrupt > 0
}

// String describes f. The zero value gives "".
func (f Faults) String() string {
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	percent := func(name string, p float64) {
		if p > 0 {
			add("%s %.4g%%", name, 100*p)
		}
	}
	if f.Down {
		add("down")
	}
	percent("loss", f.Loss)
	if f.Burst != (Burst{}) {
		add("bursts (begin %.4g%%, end %.4g%%, loss %.4g%% and %.4g%%)",
			100*f.Burst.Begin, 100*f.Burst.End, 100*f.Burst.Good, 100*f.Burst.Bad)
	}
	if f.Exact.Lost > 0 {
		add("loses %d of %d", f.Exact.Lost, f.Exact.Of)
	}
	if f.Script != nil {
		add("script")
	}
	percent("duplicates", f.Duplicate)
	if f.Latency > 0 {
		add("latency %v", f.Latency)
	}
	if f.Jitter > 0 {
		add("jitter %v", f.Jitter)
	}
	if f.Ordered {
		add("ordered")
	}
	if f.Reorder > 0 {
		add("holds back %.4g%% by %v", 100*f.Reorder, f.ReorderBy)
	}
	if f.Rate > 0 {
		add("%d bit/s", f.Rate)
	}
	if f.Depth > 0 {
		add("bucket of %d bytes", f.Depth)
	}
	if f.Queue > 0 {
		add("queue of %d bytes", f.Queue)
	}
	if f.MTU > 0 {
		add("MTU %d", f.MTU)
	}
	if f.BlackHole {
		add("black hole")
	}
	percent("corrupts", f.Corrupt)
	return strings.Join(s, ", ")
}
