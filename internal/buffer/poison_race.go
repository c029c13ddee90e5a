//go:build race

package buffer

import "sync/atomic"

// poison makes the use of a released datagram visible in tests. It copies in doubling
// lengths, because the race detector checks every access; byte by byte, that took
// most of the time of some tests.
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

// Live returns the number of buffers in use. A buffer that was never released stays
// counted, although its memory is collected.
func Live() int { return int(live.Load()) }
