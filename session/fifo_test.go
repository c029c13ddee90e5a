package session

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFifoIsAQueueOfPayloads compares a fifo with a slice of slices.
func TestFifoIsAQueueOfPayloads(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, limit := range []int{1, 100, 2000, 5000, 64 << 10, 300 << 10} {
		var f fifo
		var model [][]byte
		used := 0
		out := make([]byte, 65535)
		for range 2000 {
			if size := random.IntN(3000); random.IntN(2) == 0 {
				if random.IntN(50) == 0 {
					size = random.IntN(65528)
				}
				b := make([]byte, size)
				for i := 0; i < len(b); i += 97 {
					b[i] = byte(random.Uint32())
				}
				fits := len(model) == 0 || used+len(b)+lengthSize <= limit
				require.Equal(t, fits, f.put(b, limit))
				if fits {
					model = append(model, b)
					used += len(b) + lengthSize
				}
			} else if len(model) > 0 {
				room := len(out)
				if random.IntN(5) == 0 {
					room = random.IntN(len(model[0]) + 1)
				}
				n, whole := f.take(out[:room])
				require.Equal(t, model[0][:n], out[:n:n])
				require.Equal(t, len(model[0]) <= room, whole)
				require.Equal(t, min(len(model[0]), room), n)
				used -= len(model[0]) + lengthSize
				model = model[1:]
			}
			require.Equal(t, len(model), f.count)
			require.Equal(t, used, len(f.buf)-f.head)
			if len(model) == 0 {
				require.Nil(t, f.buf, "an empty fifo has no memory")
			}
		}
	}
}
