// Package buffer has pooled buffers for datagrams. They count references, because the
// datagrams of one read share a buffer.
package buffer

import (
	"sync"
	"sync/atomic"
	"weak"
)

// Size is the length of a long buffer in bytes. No UDP datagram is longer (RFC 768
// has a length field of 16 bits), and no coalesced packet of Linux is.
const Size = 64 << 10

// Most datagrams fit into short, which is longer than an Ethernet frame; medium fits
// jumbo frames.
const (
	Short  = 2 << 10
	medium = 16 << 10
)

// A Buffer is bytes with a reference count. B is in the same allocation as the
// Buffer, so a slice of B keeps the Buffer alive, and a [Lease] can refer to it
// weakly.
type Buffer struct {
	B    []byte
	refs atomic.Int32
	pool *sync.Pool
	self weak.Pointer[Buffer]
}

// All sockets share the pools: memory that one socket no longer needs serves the
// others.
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

// Of returns a buffer with one reference and at least n bytes, not zeroed. It is for
// datagrams of known length, so that many waiting ones do not take [Size] bytes each.
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

// Release removes n references. With the last one the buffer returns to its pool. It
// panics if there were fewer than n.
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

// Recycle reports whether the caller holds the only reference, so that it may
// overwrite the buffer.
func (b *Buffer) Recycle() bool {
	if b.refs.Load() != 1 {
		return false
	}
	poison(b.B)
	return true
}
