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

// A Buffer is Size bytes with a count of those who use it.
type Buffer struct {
	B    []byte
	refs atomic.Int32
}

var (
	pool = sync.Pool{New: func() any { return &Buffer{B: make([]byte, Size)} }}
	live atomic.Int64
)

// Get returns a buffer with one reference. Its bytes are not zeroed.
func Get() *Buffer {
	b := pool.Get().(*Buffer)
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
		pool.Put(b)
	case left < 0:
		panic("udp: a datagram was released more often than it was retained")
	}
}

// Live counts the buffers that somebody holds. A buffer that was dropped
// without Release stays in the count, although its memory is collected.
func Live() int64 { return live.Load() }
