package buffer

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
	"weak"
)

// MaxLease is the largest number of datagrams of a [Lease].
const MaxLease = 64

// A Lease counts the references to each datagram in a buffer. It serves only one
// filling of the buffer. So it detects a Release too many, even after the buffer was
// filled again: the datagram is not retained in the old Lease. It refers to the
// buffer weakly, so that the garbage collector frees the buffer of a datagram that is
// never released.
//
// The zero Lease has no buffer, and its methods do nothing.
type Lease struct {
	buf   weak.Pointer[Buffer]
	base  uintptr // address of the first datagram
	size  uint32  // length of each datagram, 0: there is one
	held  atomic.Uint64
	again atomic.Pointer[repeats]
}

// repeats counts datagrams that were retained more than once, which is rare.
type repeats struct {
	mu sync.Mutex
	n  map[uint64]int // by bit of held
}

// Init prepares a new Lease for the datagrams in data, a part of b. They are size
// bytes each and at most [MaxLease]; with size 0 data is one datagram.
func (l *Lease) Init(b *Buffer, data []byte, size int) {
	l.buf, l.base, l.size = b.self, uintptr(unsafe.Pointer(unsafe.SliceData(data))), uint32(size)
}

// Holds reports whether l has a buffer.
func (l *Lease) Holds() bool { return l.base != 0 }

// Buffer returns the buffer, nil if there is none or it has been collected.
func (l *Lease) Buffer() *Buffer { return l.buf.Value() }

// RetainAll retains the first n datagrams of a Lease that is not shared yet.
func (l *Lease) RetainAll(b *Buffer, n int) {
	l.held.Store(^uint64(0) >> (MaxLease - n))
	b.Retain(1)
}

// Retain keeps a datagram valid until Release. The caller must hold the buffer, as
// the reader does while it dispatches.
func (l *Lease) Retain(data []byte) {
	if l.base == 0 {
		return
	}
	bit := l.bit(data)
	switch old := l.held.Or(bit); {
	case old&bit != 0:
		l.retainAgain(bit)
	case old == 0:
		if b := l.buf.Value(); b != nil {
			b.Retain(1)
		}
	}
}

// Release undoes one Retain. It panics if data is not retained.
func (l *Lease) Release(data []byte) {
	if l.base == 0 {
		return
	}
	bit := l.bit(data)
	if l.again.Load() != nil && l.releaseAgain(bit) {
		return
	}
	switch old := l.held.And(^bit); {
	case old&bit == 0:
		panic("udp: Datagram.Release without Retain")
	case old == bit:
		if b := l.buf.Value(); b != nil {
			b.Release(1)
		}
	}
	runtime.KeepAlive(data) // it may be the only reference that keeps the buffer alive
}

// bit returns the bit of a datagram in held, by the address of its payload. A payload
// that the caller replaced counts as any retained one.
func (l *Lease) bit(data []byte) uint64 {
	if l.size == 0 {
		return 1
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(data))) - l.base
	if i := at / uintptr(l.size); i < MaxLease {
		return 1 << i
	}
	if held := l.held.Load(); held != 0 {
		return held & -held
	}
	return 1
}

func (l *Lease) retainAgain(bit uint64) {
	r := l.again.Load()
	if r == nil {
		l.again.CompareAndSwap(nil, &repeats{n: map[uint64]int{}})
		r = l.again.Load()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n[bit]++
}

func (l *Lease) releaseAgain(bit uint64) bool {
	r := l.again.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n[bit] == 0 {
		return false
	}
	r.n[bit]--
	return true
}
