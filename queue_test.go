package udp_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// A full Queue does what its policy says, and every datagram is accounted for.
//
// Twisted: R4
func TestQueueKeepsItsPolicy(t *testing.T) {
	const capacity, n = 4, 20
	for _, test := range []struct {
		overflow udp.Overflow
		want     []int // what can be taken in the end
	}{
		{udp.Block, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}},
		{udp.DropNewest, []int{0, 1, 2, 3}},
		{udp.DropOldest, []int{16, 17, 18, 19}},
	} {
		t.Run(test.overflow.String(), func(t *testing.T) {
			q := udp.NewQueue(capacity, test.overflow)
			c := listen(t, udp.Config{}, "udp4", q)
			for i := range n {
				require.NoError(t, c.SendTo([]byte{byte(i)}, c.LocalAddrPort()))
			}
			var got []int
			if test.overflow == udp.Block {
				for range n {
					d := next(t, q.Datagrams())
					got = append(got, int(d.Data[0]))
					d.Release()
				}
			}
			require.NoError(t, c.Shutdown(t.Context()))
			next(t, q.Done())
			for d := range q.Datagrams() {
				got = append(got, int(d.Data[0]))
				require.Same(t, c, d.Conn())
				d.Release()
			}
			require.Equal(t, test.want, got)
			s := c.Stats()
			require.EqualValues(t, len(test.want), s.Handled)
			require.EqualValues(t, n-len(test.want), s.Dropped.Queue)
			require.NoError(t, q.Err())
		})
	}
}

// Close does not wait for room in a Queue that nobody reads.
func TestCloseWhileAQueueBlocks(t *testing.T) {
	q := udp.NewQueue(1, udp.Block)
	c := listen(t, udp.Config{}, "udp4", q)
	for range 3 {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	}
	require.Eventually(t, func() bool { return len(q.Datagrams()) == 1 }, patience, 1e6)
	require.NoError(t, c.Close())
	s := c.Stats()
	require.EqualValues(t, 1, s.Handled, "the one in the channel")
	require.Len(t, q.Datagrams(), 1, "can still be taken")
	_, ok := <-q.Refusals()
	require.False(t, ok)
}

// A Queue of several sockets ends with the last of them, and for good.
func TestQueueOfSeveralSockets(t *testing.T) {
	q := udp.NewQueue(10, udp.Block)
	one, two := listen(t, udp.Config{}, "udp4", q), listen(t, udp.Config{}, "udp4", q)
	require.NoError(t, one.Close())
	three := listen(t, udp.Config{}, "udp4", q)
	for _, c := range []*udp.Conn{two, three} {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
		require.Same(t, c, next(t, q.Datagrams()).Conn())
	}
	require.NoError(t, two.Close())
	select {
	case <-q.Done():
		require.Fail(t, "one socket is left")
	default:
	}
	require.NoError(t, three.Close())
	next(t, q.Done())
	_, ok := <-q.Datagrams()
	require.False(t, ok)

	_, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", q)
	requireOpError(t, err, "listen")
	require.ErrorIs(t, err, net.ErrClosed)

	// A Listen that was under way when the Queue ended gives a closed socket.
	type wrapped struct{ *udp.Queue }
	c, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", wrapped{q})
	require.NoError(t, err)
	books(t, c)
	next(t, c.Done())
	require.Zero(t, c.Stats().Panics)
}

// The newest refusals are kept, so that nobody has to take them.
func TestQueueKeepsTheNewestRefusals(t *testing.T) {
	q := udp.NewQueue(2, udp.Block)
	for i := range 10 {
		q.Refused(nil, &udp.Refusal{Code: uint8(i)})
	}
	require.EqualValues(t, 8, next(t, q.Refusals()).Code)
	require.EqualValues(t, 9, next(t, q.Refusals()).Code)

	q = udp.NewQueue(2, udp.DropNewest)
	dead := deadPort(t, "udp4")
	c := dial(t, dead, q)
	require.NoError(t, c.Send([]byte("x")))
	requireRefused(t, c.Conn, next(t, q.Refusals()), dead, "x")
	require.Zero(t, c.Stats().RefusalsLost)

	// Those that are dropped are counted.
	for range 5 {
		require.NoError(t, c.Send([]byte("x")))
	}
	require.Eventually(t, func() bool { return c.Stats().RefusalsLost == 3 }, patience, time.Millisecond)
	require.Len(t, q.Refusals(), 2)
}

func TestNewQueue(t *testing.T) {
	for _, bad := range []udp.Overflow{-1, 3} {
		require.PanicsWithValue(t, fmt.Sprintf("udp: NewQueue: Overflow(%d)", int(bad)), func() { udp.NewQueue(1, bad) })
	}
	require.Equal(t, 1, cap(udp.NewQueue(0, udp.Block).Datagrams()))
	require.Equal(t, 7, cap(udp.NewQueue(7, udp.Block).Datagrams()))
}
