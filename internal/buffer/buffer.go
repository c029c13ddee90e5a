// Package buffer has the pooled memory that datagrams lie in. A buffer is
// counted by reference, since the datagrams of one read share it.
package buffer

import (
	"sync"
	"sync/atomic"
)

// Size is the length of a buffer in bytes. No UDP datagram is longer (RFC 768
// has a length field of 16 bits), and no train of datagrams that Linux joins is.
const Size = 64 << 10

// A Buffer is some bytes, Size of them unless [Of] made it, with a count of those
// who use it.
type Buffer struct {
	B    []byte
	refs atomic.Int32
	from *sync.Pool
}

var (
	pool, medium, small sync.Pool
	live                atomic.Int64
)

// Short fits what most datagrams are, no longer than an Ethernet frame.
const Short = 2 << 10

// mediumSize fits jumbo frames.
const mediumSize = 16 << 10

// Get returns a buffer with one reference. Its bytes are not zeroed.
func Get() *Buffer { return get(&pool, Size) }

// Of returns a buffer with one reference and at least n bytes, not zeroed. It is
// for those who know the length before: many datagrams at rest then don't take
// Size bytes each.
func Of(n int) *Buffer {
	if n <= Short {
		return get(&small, Short)
	}
	if n <= mediumSize {
		return get(&medium, mediumSize)
	}
	return get(&pool, Size)
}

func get(from *sync.Pool, size int) *Buffer {
	b, ok := from.Get().(*Buffer)
	if !ok {
		b = &Buffer{B: make([]byte, size), from: from}
	}
	b.refs.Store(1)
	live.Add(1)
	return b
}

// Retain adds n references.
func (b *Buffer) Retain(n int) { b.refs.Add(int32(n)) }

// Release takes n references away; with the last one the buffer goes back to
// the pool. It panics when there were fewer than n.
func (b *Buffer) Release(n int) {
	switch left := b.refs.Add(int32(-n)); {
	case left == 0:
		poison(b.B)
		live.Add(-1)
		b.from.Put(b)
	case left < 0:
		panic("udp: a datagram was released more often than it was retained")
	}
}

// Recycle says whether the caller holds the only reference, so that the buffer
// can be filled again; what lay in it is gone then.
func (b *Buffer) Recycle() bool {
	if b.refs.Load() != 1 {
		return false
	}
	poison(b.B)
	return true
}

// Live counts the buffers that somebody holds. A buffer that was dropped
// without Release stays in the count, although its memory is collected.
func Live() int64 { return live.Load() }
