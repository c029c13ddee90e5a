package buffer_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/buffer"
)

// counted is n, if this build counts buffers.
func counted(n int) int {
	if !raceEnabled {
		return 0
	}
	return n
}

func TestBuffersAreAsLongAsWasAskedFor(t *testing.T) {
	before := buffer.Live()
	var all []*buffer.Buffer
	for _, n := range []int{0, 1, 1500, 2048, 2049, 9000, buffer.Size} {
		b := buffer.Of(n)
		require.GreaterOrEqual(t, len(b.B), n)
		all = append(all, b)
	}
	require.Less(t, len(all[2].B), buffer.Size, "a small datagram does not take a big buffer")
	all = append(all, buffer.Get())
	require.Len(t, all[len(all)-1].B, buffer.Size)
	require.Equal(t, before+counted(len(all)), buffer.Live())
	for _, b := range all {
		b.Retain(1)
		b.Release(1)
		b.Release(1)
	}
	require.Equal(t, before, buffer.Live())
	require.Panics(t, func() { all[0].Release(1) })
	// Neither pool gives the other's.
	for range 100 {
		b, s := buffer.Get(), buffer.Of(10)
		require.Len(t, b.B, buffer.Size)
		require.NotEqual(t, len(b.B), len(s.B))
		b.Release(1)
		s.Release(1)
	}
}
