//go:build !udpbasic

package sys

import (
	"runtime"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/cmsg"
)

// A batch that has read into many buffers does not keep them when it is used for
// fewer, or not at all.
func TestABatchForgetsItsBuffers(t *testing.T) {
	b := new(batch)
	r := &receiver{batch: b}
	b.prepare(maxBatch, cmsg.Space)
	var buffers []weak.Pointer[byte]
	for i := range maxBatch {
		buffers = append(buffers, weak.Make(&b.bufs[i].B[0]))
	}
	r.giveBack()
	for range 4 { // a sync.Pool takes two collections
		runtime.GC()
		b.prepare(minBatch, cmsg.Space)
		r.batch = b
		r.giveBack()
	}
	held := 0
	for _, w := range buffers {
		if w.Value() != nil {
			held++
		}
	}
	runtime.KeepAlive(b)
	require.LessOrEqual(t, held, minBatch)
}
