package main

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"
)

const mark = 0xa5c3f00d5eed1234

// A payload is a sequence number, a fixed pattern and the number again, masked.
func newPayload(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*131 + 7)
	}
	return b
}

func number(b []byte, seq uint64) {
	binary.LittleEndian.PutUint64(b, seq)
	binary.LittleEndian.PutUint64(b[len(b)-8:], seq^mark)
}

// A check counts datagrams, checks them and keeps the measured window. One
// goroutine uses it.
type check struct {
	size                          int
	received, bad, disorder, lost uint64
	next                          uint64 // sequence number that is expected
	warm                          time.Duration
	drain                         uint64
	drainBegan                    time.Time
	drains                        []time.Duration
	first, base, last             time.Time
	baseCount, lastCount          uint64
	middle                        []byte
}

func newCheck(a args) *check {
	return &check{
		size: a.size, warm: time.Duration(a.warm * float64(time.Second)), drain: uint64(a.drain),
		middle: newPayload(a.size)[8 : a.size-8],
	}
}

// one checks a datagram: the length, the number and its masked copy each time, and the whole
// content one time in 64, when it also reads the clock. With drain, so many datagrams are
// queued before they are read.
func (c *check) one(b []byte) {
	if len(b) != c.size {
		c.bad++
		return
	}
	seq := binary.LittleEndian.Uint64(b)
	if binary.LittleEndian.Uint64(b[len(b)-8:]) != seq^mark {
		c.bad++
		return
	}
	if seq < c.next {
		c.disorder++
	} else {
		c.lost += seq - c.next
		c.next = seq + 1
	}
	if c.received++; c.received&63 == 1 {
		c.sample(b)
	}
}

func (c *check) sample(b []byte) {
	if !bytes.Equal(b[8:len(b)-8], c.middle) {
		c.bad++
	}
	now := time.Now()
	if c.first.IsZero() {
		c.first = now
	}
	if now.Sub(c.first) <= c.warm {
		c.base, c.baseCount = now, c.received
	}
	c.last, c.lastCount = now, c.received
	if c.drain > 0 {
		c.drained(now)
	}
}

// drained records how long a drain took, from its first sample to its last one.
// Samples are 64 datagrams apart, and drain is a multiple of that.
func (c *check) drained(now time.Time) {
	switch c.received % c.drain {
	case 1:
		c.drainBegan = now
	case c.drain - 63:
		c.drains = append(c.drains, now.Sub(c.drainBegan))
	}
}

// sum adds up the counts of several goroutines. The window is from the earliest beginning to the
// latest end. A number that one goroutine missed may be another's, so only the total shows what
// is lost.
func sum(coalesced bool, checks ...*check) result {
	r := result{Coalesced: coalesced}
	var base, last time.Time
	var next uint64
	for _, c := range checks {
		r.Received += c.received
		r.Bad += c.bad
		r.Disorder += c.disorder
		r.Counted += c.lastCount - c.baseCount
		next = max(next, c.next)
		if base.IsZero() || !c.base.IsZero() && c.base.Before(base) {
			base = c.base
		}
		if c.last.After(last) {
			last = c.last
		}
	}
	if next > r.Received {
		r.Lost = next - r.Received
	}
	if last.After(base) {
		r.Seconds = last.Sub(base).Seconds()
	}
	if c := checks[0]; len(c.drains) > 1 { // the median drain; the first one filled caches
		ds := slices.Sorted(slices.Values(c.drains[1:]))
		r.Counted, r.Seconds = c.drain-64, ds[(len(ds)-1)/2].Seconds()
	}
	return r
}
