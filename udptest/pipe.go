package udptest

import (
	"math"
	"slices"
	"time"
)

// A Pipe is one direction of a link, or of a [Net.Path]. It has faults, counters and taps.
type Pipe struct {
	net    *Net
	name   string
	id     uint64
	sender *Host // whose sends wait while it is full; nil: none do

	// These are next to each other because every datagram reads them.
	perfect bool // without faults
	stats   PipeStats
	taps    []*tap // for packets that enter

	arrivals []*tap // for packets that have passed

	faults  Faults
	number  int           // of the last datagram, for the Script
	bad     bool          // state of the Burst
	free    time.Duration // when the queue will be empty
	left    time.Duration // the same in whole microseconds
	last    time.Duration // arrival, for Ordered
	entered uint64        // for Exact
	losing  []uint64      // places in this block of Exact, sorted
}

// PipeStats counts datagrams and ICMP messages.
//
//	Entered + Duplicated == Passed + Lost + Overflowed + TooBig + Blocked
type PipeStats struct {
	Entered      uint64 // lost ones included
	EnteredBytes uint64 // of IP packets, headers included
	Passed       uint64 // to the other end, copies included
	Lost         uint64 // by Loss, Burst, Exact and Script
	Overflowed   uint64 // lost because the Queue was full
	TooBig       uint64 // lost because they were longer than the MTU
	Blocked      uint64 // lost by Down or a partition
	Duplicated   uint64 // copies made
	Delayed      uint64 // by Reorder
	Corrupted    uint64 // with a flipped bit
}

// Set replaces the faults, for datagrams that enter from now on. It resets the states of
// Script, Burst, Exact and Rate, but not the counters. Invalid faults fail the test; see
// [Faults.Validate].
func (p *Pipe) Set(f Faults) {
	p.net.t.Helper()
	p.net.check(f.Validate())
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.faults, p.perfect = f, f.none()
	p.number, p.bad, p.entered, p.losing = 0, false, 0, nil
	p.free, p.left, p.last = never, never, 0
	p.changed()
}

// changed makes sends that wait for room try again.
func (p *Pipe) changed() {
	if p.sender != nil {
		p.sender.wakeSenders()
	}
}

// never is before all events: a bucket that fills since then is full. No delay is longer than
// longest, so that sums of a few delays do not overflow.
const (
	never   = time.Duration(math.MinInt64 / 2)
	longest = time.Duration(math.MaxInt64 / 8) // 36 years
)

// Faults returns the current faults.
func (p *Pipe) Faults() Faults {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	return p.faults
}

// SetDown sets Faults.Down and keeps the other faults.
func (p *Pipe) SetDown(down bool) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.faults.Down = down
	p.perfect = p.faults.none()
	p.changed()
}

// Stats returns the counters.
func (p *Pipe) Stats() PipeStats {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	return p.stats
}

// String returns the pipe's name.
func (p *Pipe) String() string { return p.name }

// The random decisions. Each has its own draws, so that one fault does not affect another.
const (
	drawLoss uint64 = iota
	drawState
	drawBurst
	drawDuplicate
	drawJitter
	drawReorder
	drawCorrupt
	drawBit
	drawExact
	drawPort
	drawCoalesce
)

// A fate is what a pipe does to a datagram.
type fate struct {
	why   string        // reason of the loss; "": not lost
	waits time.Duration // in the queue
	delay time.Duration // until it arrives
	again bool          // it is duplicated
	later time.Duration // until the copy arrives
}

// pass decides the fate of q, which enters at now.
func (p *Pipe) pass(q *packet, now time.Duration) fate {
	size := p.enter(q)
	fate := p.decide(q, size, now)
	p.show(q, now, fate.why)
	if fate.why == "" {
		p.stats.Passed++
	}
	if fate.again {
		p.stats.Passed++
	}
	return fate
}

// block loses q before it meets any fault.
func (p *Pipe) block(q *packet, now time.Duration, why string) {
	p.enter(q)
	p.stats.Blocked++
	p.show(q, now, why)
}

// tooLong loses q, which is longer than the MTU of the receiving interface.
func (p *Pipe) tooLong(q *packet, now time.Duration) {
	p.enter(q)
	p.stats.TooBig++
	p.show(q, now, "too big")
}

func (p *Pipe) enter(q *packet) (size int) {
	size = q.size()
	p.stats.Entered++
	p.stats.EnteredBytes += uint64(size)
	p.number++
	return size
}

func (p *Pipe) show(q *packet, now time.Duration, lost string) {
	for _, t := range p.taps {
		t.see(q, now, lost)
	}
}

func (p *Pipe) decide(q *packet, size int, now time.Duration) (to fate) {
	if p.perfect {
		return fate{}
	}
	f := &p.faults
	if f.Down {
		p.stats.Blocked++
		return fate{why: "link down"}
	}
	if f.MTU > 0 && q.unit > f.MTU {
		p.stats.TooBig++
		return fate{why: "too big"}
	}
	if p.loses(q) {
		p.stats.Lost++
		return fate{why: "lost"}
	}
	if f.Rate > 0 {
		wait, room := p.queue(size, now)
		if !room {
			p.stats.Overflowed++
			return fate{why: "queue full"}
		}
		to.waits, to.delay = wait, wait
	}
	to.delay += whole(f.Latency)
	if !f.random() {
		if f.Ordered {
			to.delay = p.ordered(now, to.delay)
		}
		return to
	}
	if f.Corrupt > 0 && len(q.data) > 0 && p.chance(q, drawCorrupt) < f.Corrupt {
		p.stats.Corrupted++
		bit := p.draw(q.key, drawBit) % uint64(8*len(q.data))
		q.data[bit/8] ^= 1 << (bit % 8)
	}
	to.later = to.delay
	if f.Jitter > 0 {
		jitter := uint64(f.Jitter/time.Microsecond) + 1
		to.delay += time.Duration(p.chance(q, drawJitter)*float64(jitter)) * time.Microsecond
		copied := q.key
		copied.copy++
		to.later += time.Duration(p.draw(copied, drawJitter)%jitter) * time.Microsecond
	}
	if f.Reorder > 0 && p.chance(q, drawReorder) < f.Reorder {
		p.stats.Delayed++
		to.delay += whole(f.ReorderBy)
	}
	if f.Ordered {
		to.delay = p.ordered(now, to.delay)
		to.later = to.delay
	}
	if f.Duplicate > 0 && p.chance(q, drawDuplicate) < f.Duplicate {
		p.stats.Duplicated++
		to.again = true
	}
	return to
}

// loses reports whether q is lost. Every model of loss sees every datagram, so that its state
// does not depend on the others.
func (p *Pipe) loses(q *packet) (lost bool) {
	f := &p.faults
	if f.Script != nil && p.scripted(q) {
		lost = true
	}
	if f.Exact.Lost > 0 && p.losesExactly() {
		lost = true
	}
	if f.Burst != (Burst{}) {
		turn := f.Burst.Begin
		if p.bad {
			turn = f.Burst.End
		}
		if p.chance(q, drawState) < turn {
			p.bad = !p.bad
		}
		loss := f.Burst.Good
		if p.bad {
			loss = f.Burst.Bad
		}
		if p.chance(q, drawBurst) < loss {
			lost = true
		}
	}
	if f.Loss > 0 && p.chance(q, drawLoss) < f.Loss {
		lost = true
	}
	return lost
}

// scripted calls the Script.
//
//go:noinline
func (p *Pipe) scripted(q *packet) (lost bool) { return p.faults.Script(p.number, q.public()) }

// losesExactly draws the losses of a block of Of datagrams when the block begins.
func (p *Pipe) losesExactly() bool {
	of := uint64(p.faults.Exact.Of)
	block, place := p.entered/of, p.entered%of
	p.entered++
	if place == 0 {
		// Robert Floyd's sampling: Lost distinct places of Of.
		p.losing = p.losing[:0]
		for i := of - uint64(p.faults.Exact.Lost); i < of; i++ {
			at := p.draw(key{origin: block, seq: i}, drawExact) % (i + 1)
			if slices.Contains(p.losing, at) {
				at = i
			}
			p.losing = append(p.losing, at)
		}
	}
	return slices.Contains(p.losing, place)
}

// queue adds size bytes to the queue.
func (p *Pipe) queue(size int, now time.Duration) (wait time.Duration, room bool) {
	f := &p.faults
	limit := f.Queue
	if limit == 0 {
		limit = defaultQueue
	}
	// An idle link saves up Depth bytes' worth of time.
	p.free = max(p.free, now-p.lasts(f.Depth))
	backlog := p.free - now
	if most := p.lasts(limit); backlog > 0 && most < longest && backlog+p.lasts(size) > most {
		return 0, false
	}
	p.free = min(p.free+p.lasts(size), now+longest)
	p.left = max(p.left, now+whole(max(0, p.free-now)))
	return p.left - now, true
}

// stop empties the queue.
func (p *Pipe) stop(now time.Duration) { p.free, p.left = min(p.free, now), min(p.left, now) }

// whole rounds up to microseconds; see LinkTime.
func whole(d time.Duration) time.Duration {
	return (d + time.Microsecond - 1).Truncate(time.Microsecond)
}

// lasts returns how long the link takes for n bytes.
func (p *Pipe) lasts(n int) time.Duration {
	return time.Duration(min(math.Round(float64(n)*8*float64(time.Second)/float64(p.faults.Rate)), float64(longest)))
}

func (p *Pipe) ordered(now, delay time.Duration) time.Duration {
	p.last = max(p.last, now+delay)
	return p.last - now
}

// chance returns a random number in [0, 1) for one decision about q.
func (p *Pipe) chance(q *packet, what uint64) float64 {
	return float64(p.draw(q.key, what)>>11) / (1 << 53)
}

// draw returns the random number of one decision about a datagram. It is a hash and not the
// next number of a generator, so that it does not depend on other datagrams.
func (p *Pipe) draw(k key, what uint64) uint64 {
	z := mix(mix(mix(p.net.cfg.Seed, p.id+what), k.origin), k.seq<<8)
	if k.copy != 0 {
		z = mix(z, k.copy)
	}
	return z
}

// mix hashes a and b by a step of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
// number generators, 2014).
func mix(a, b uint64) uint64 {
	z := a ^ (b + 0x9e3779b97f4a7c15)
	z *= 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
