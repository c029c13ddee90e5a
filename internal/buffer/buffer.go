// Package buffer has the pooled memory that datagrams lie in. A buffer is counted
// by reference, since the datagrams of one read share it.
package buffer

import (
	"sync"
	"sync/atomic"
	"weak"
)

// Size is the length of a long buffer in bytes. No UDP datagram is longer (RFC 768
// has a length field of 16 bits), and no coalesced packet of Linux is.
const Size = 64 << 10

// Short fits what most datagrams are, no longer than an Ethernet frame; medium fits
// jumbo frames.
const (
	Short  = 2 << 10
	medium = 16 << 10
)

// A Buffer is some bytes with a count of those who use them. B lies in the same
// allocation as the Buffer: whoever holds a part of B keeps the Buffer alive, so
// that a [Lease] can refer to it weakly.
type Buffer struct {
	B    []byte
	refs atomic.Int32
	pool *sync.Pool
	self weak.Pointer[Buffer]
}

// The pools are shared by all sockets: memory that one socket does not need any
// more serves the next one.
var shorts, mediums, longs sync.Pool

// Get returns a long buffer with one reference. Its bytes are not zeroed.
func Get() *Buffer {
	b, ok := longs.Get().(*Buffer)
	if !ok {
		m := new(struct {
			Buffer
			mem [Size]byte
		})
		b = m.init(m.mem[:], &longs)
	}
	return b.lend()
}

// Of returns a buffer with one reference and at least n bytes, not zeroed. It is
// for callers who know the length before, so that many waiting datagrams do not
// take [Size] bytes each.
func Of(n int) *Buffer {
	switch {
	case n <= Short:
		b, ok := shorts.Get().(*Buffer)
		if !ok {
			m := new(struct {
				Buffer
				mem [Short]byte
			})
			b = m.init(m.mem[:], &shorts)
		}
		return b.lend()
	case n <= medium:
		b, ok := mediums.Get().(*Buffer)
		if !ok {
			m := new(struct {
				Buffer
				mem [medium]byte
			})
			b = m.init(m.mem[:], &mediums)
		}
		return b.lend()
	}
	return Get()
}

func (b *Buffer) init(mem []byte, pool *sync.Pool) *Buffer {
	b.B, b.pool, b.self = mem, pool, weak.Make(b)
	return b
}

func (b *Buffer) lend() *Buffer {
	b.refs.Store(1)
	count(1)
	return b
}

// Retain adds n references.
func (b *Buffer) Retain(n int) { b.refs.Add(int32(n)) }

// Release takes n references away; with the last one the buffer goes back to its
// pool. It panics when there were fewer than n.
func (b *Buffer) Release(n int) {
	switch left := b.refs.Add(int32(-n)); {
	case left == 0:
		poison(b.B)
		count(-1)
		b.pool.Put(b)
	case left < 0:
		panic("udp: buffer released more often than retained")
	}
}

// Recycle reports whether the caller holds the only reference, so that the buffer
// can be filled again; its contents are gone then.
func (b *Buffer) Recycle() bool {
	if b.refs.Load() != 1 {
		return false
	}
	poison(b.B)
	return true
}
