package udptest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Faults are what one direction of a link does to datagrams. The zero value
// carries each of them at once and once.
//
// Probabilities are from 0 to 1. Sizes are bytes of the whole IP packet, headers
// included. The order is: down, MTU, script, loss of all kinds, queue, then
// corruption, duplication, and the delays, which are whole microseconds: times are
// rounded up to them, but for Jitter's, which is rounded down.
type Faults struct {
	Down bool // nothing passes

	Loss   float64 // probability that a datagram is lost, each by itself
	Burst  Burst   // losses that come together
	Exact  Exact   // of so many exactly so many are lost
	Script Script  // nil, or says which are lost

	Duplicate float64 // probability that a datagram arrives twice

	Latency time.Duration // every datagram takes this long, and each link 1001 ns beside it
	Jitter  time.Duration // and up to this much longer, evenly spread
	Ordered bool          // jitter makes none overtake another

	Reorder   float64       // probability that a datagram is held back
	ReorderBy time.Duration // for so long beside Latency, so that later ones overtake it

	Rate  int // bits a second, 0: no limit
	Depth int // bytes that may pass at once before Rate holds: the bucket's depth
	Queue int // bytes that wait for their turn; what finds no room is lost; 0: 256 KiB

	// MTU is the longest packet that passes, 0: any. A longer one is refused (ICMP:
	// too big), and the sending host learns it: later ones come in fragments, which
	// are not simulated one by one, or fail to be sent with MTUDiscoveryDo. If
	// Silent, it just vanishes: a black hole.
	MTU    int
	Silent bool

	Corrupt float64 // probability that one bit of the payload is turned over
}

// Burst is the model of Gilbert and Elliott: a link is good or bad, and loses in
// each state with its probability. A datagram that enters first changes the
// state, or not.
type Burst struct {
	Begin float64 // probability that a good link turns bad
	End   float64 // probability that a bad one turns good again
	Good  float64 // loss while good
	Bad   float64 // loss while bad
}

// Exact loses exactly Lost of every Of datagrams, in places that the seed
// chooses.
type Exact struct{ Lost, Of int }

// A Script says whether a datagram is lost: number counts those that have entered
// the link since the Script was set, from 1. It is called with locks held, so it
// must not use the network.
type Script func(number int, p Packet) (lost bool)

// DropNth is a Script that loses the datagrams of these numbers: DropNth(3) the
// third.
func DropNth(numbers ...int) Script {
	return func(number int, _ Packet) bool { return slices.Contains(numbers, number) }
}

// linkTime is what every link takes. That nothing arrives at the instant it was
// sent is what makes runs repeat: at each instant it is known before what arrives.
// Nor does anything arrive at a round time, when timers fire, since what the faults
// add is whole microseconds: a million links in a row make a whole number of
// milliseconds again, of microseconds a thousand.
const linkTime = 1001 * time.Nanosecond

const defaultQueue = 256 << 10

// Validate says what can't be in f.
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
			return fmt.Errorf("udptest: %s is a probability, and not from 0 to 1: %v", p.name, p.p)
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
		return fmt.Errorf("udptest: Exact loses none of %d", f.Exact.Of)
	case f.Exact.Lost > f.Exact.Of:
		return fmt.Errorf("udptest: Exact loses %d of %d", f.Exact.Lost, f.Exact.Of)
	case f.Reorder > 0 && f.ReorderBy == 0:
		return fmt.Errorf("udptest: Reorder without ReorderBy: held back for how long?")
	case f.ReorderBy > 0 && f.Reorder == 0:
		return fmt.Errorf("udptest: ReorderBy means nothing without Reorder")
	case f.Ordered && f.Jitter == 0:
		return fmt.Errorf("udptest: Ordered means nothing without Jitter")
	case f.Rate == 0 && (f.Depth > 0 || f.Queue > 0):
		return fmt.Errorf("udptest: Depth and Queue mean nothing without a Rate")
	case f.MTU > 0 && f.MTU < 68:
		return fmt.Errorf("udptest: an MTU of %d: the least is 68 (RFC 791)", f.MTU)
	case f.Silent && f.MTU == 0:
		return fmt.Errorf("udptest: Silent means nothing without an MTU")
	case f.Burst.Bad > 0 && f.Burst.Begin == 0:
		return fmt.Errorf("udptest: a Burst that never begins")
	case f.Burst != Burst{} && f.Burst.Good == 0 && f.Burst.Bad == 0:
		return fmt.Errorf("udptest: a Burst that loses nothing")
	case f.Ordered && f.Reorder > 0:
		return fmt.Errorf("udptest: both Ordered and Reorder")
	}
	return nil
}

// none says whether f lets everything pass at once.
func (f *Faults) none() bool {
	return !f.Down && !f.random() && f.Exact.Lost == 0 && f.Script == nil &&
		f.Latency == 0 && f.Rate == 0 && f.MTU == 0
}

// random says whether chance decides about anything.
func (f *Faults) random() bool {
	return f.Loss > 0 || f.Burst != Burst{} || f.Duplicate > 0 || f.Jitter > 0 || f.Reorder > 0 || f.Corrupt > 0
}

// String names what f does, nothing for the zero value.
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
	if f.Silent {
		add("black hole")
	}
	percent("corrupts", f.Corrupt)
	return strings.Join(s, ", ")
}
