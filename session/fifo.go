package session

import (
	"encoding/binary"
	"sync"
)

// fifo holds the payloads that wait to be read in one slice, each after its length. An empty
// fifo has no buffer.
type fifo struct {
	buf   []byte
	head  int // index into buf of the next payload's length
	count int
}

const lengthSize = 2 // bytes; UDP payloads are at most 65,527

// put copies b, unless there would be more than limit bytes.
func (f *fifo) put(b []byte, limit int) bool {
	need := lengthSize + len(b)
	used := len(f.buf) - f.head
	if f.count > 0 && used+need > limit {
		return false
	}
	if len(f.buf)+need > cap(f.buf) {
		f.makeRoom(used+need, limit)
	}
	f.buf = binary.NativeEndian.AppendUint16(f.buf, uint16(len(b)))
	f.buf = append(f.buf, b...)
	f.count++
	return true
}

// makeRoom moves the used bytes to the front, so that want bytes fit. It takes a larger buffer
// when more than half is used, so that moving stays rare.
func (f *fifo) makeRoom(want, limit int) {
	old, used := f.buf, f.buf[f.head:]
	if want > cap(old) || want > cap(old)/2 && cap(old) < 2*limit {
		f.buf = append(newBuffer(want), used...)
		freeBuffer(old)
	} else {
		f.buf = append(old[:0], used...)
	}
	f.head = 0
}

// take copies the first payload into b, as much as fits.
func (f *fifo) take(b []byte) (n int, whole bool) {
	size := int(binary.NativeEndian.Uint16(f.buf[f.head:]))
	f.head += lengthSize
	n = copy(b, f.buf[f.head:f.head+size])
	f.head += size
	if f.count--; f.count == 0 {
		f.clear()
	}
	return n, n == size
}

func (f *fifo) clear() {
	freeBuffer(f.buf)
	*f = fifo{}
}

// Buffers of two sizes are kept for reuse: for a few datagrams of one packet each, and for many.
const (
	smallBuffer = 2 << 10
	largeBuffer = 128 << 10
)

var smallBuffers, largeBuffers sync.Pool // of *[smallBuffer]byte and *[largeBuffer]byte

func newBuffer(n int) []byte {
	switch {
	case n <= smallBuffer:
		if b, ok := smallBuffers.Get().(*[smallBuffer]byte); ok {
			return b[:0]
		}
		return make([]byte, 0, smallBuffer)
	case n <= largeBuffer:
		if b, ok := largeBuffers.Get().(*[largeBuffer]byte); ok {
			return b[:0]
		}
		return make([]byte, 0, largeBuffer)
	}
	return make([]byte, 0, 2*n)
}

func freeBuffer(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}
