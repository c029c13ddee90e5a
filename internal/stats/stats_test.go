package stats_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
)

// sock is a socket whose kernel has dropped and still holds some datagrams.
type sock struct {
	socket.Socket
	drops  int64
	queued int
	asked  int
}

func (s *sock) Drops() int64 {
	s.asked++
	return s.drops
}

func (s *sock) Discard() int { return s.queued }

func TestWhatCloseFindsIsReceivedAndDropped(t *testing.T) {
	var k stats.Counters
	s := &sock{drops: 7, queued: 3}
	k.CountRead(s, 2, 20)
	k.Handled.Add(2)
	k.CountLast(s)
	require.EqualValues(t, 5, k.Received.Load())
	require.EqualValues(t, 3, k.Dropped[stats.DropClosed].Load())
	k.Verify(nil)
	s.drops = 0 // a closed socket cannot be asked
	require.EqualValues(t, 7, k.Kernel.Sample(s, false))
}

// The socket extends the kernel's 32 bits as long as it is asked often enough.
func TestTheKernelIsAskedNowAndThen(t *testing.T) {
	var k stats.Counters
	s := new(sock)
	for range 1<<16 - 1 {
		k.CountRead(s, 1, 0)
	}
	require.Zero(t, s.asked)
	k.CountRead(s, 1, 0)
	require.Equal(t, 1, s.asked)
}

func TestRaiseKeepsTheMaximum(t *testing.T) {
	var n atomic.Uint64
	for _, v := range []uint64{3, 1, 5, 4} {
		stats.Raise(&n, v)
	}
	require.EqualValues(t, 5, n.Load())
}

// BenchmarkCountersAlone is what counting costs for a read of any length.
func BenchmarkCountersAlone(b *testing.B) {
	k, s := new(stats.Counters), new(sock)
	for b.Loop() {
		k.CountRead(s, 64, 64*32)
		k.Handled.Add(64)
	}
}
