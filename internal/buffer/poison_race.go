//go:build race

package buffer

import "sync/atomic"

// poison makes the use of a released datagram visible in tests. It copies what it
// has written, in doubling lengths: the race detector looks at every access, and
// byte by byte that took most of the time of some tests.
func poison(b []byte) {
	if len(b) == 0 {
		return
	}
	b[0] = 0xDB
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

var live atomic.Int64

func count(n int) { live.Add(int64(n)) }

// Live counts the buffers in use. One that was never released stays in the count,
// although its memory is collected.
func Live() int { return int(live.Load()) }
