package udp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
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
			c := sockettest.Listen(t, udp.Config{}, "udp4", q)
			for i := range n {
				require.NoError(t, c.SendTo([]byte{byte(i)}, c.LocalAddrPort()))
			}
			var got []int
			if test.overflow == udp.Block {
				for range n {
					d := sockettest.Next(t, q.Datagrams())
					got = append(got, int(d.Data[0]))
					d.Release()
				}
			}
			require.NoError(t, c.Shutdown(t.Context()))
			sockettest.Next(t, q.Done())
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
	c := sockettest.Listen(t, udp.Config{}, "udp4", q)
	for range 3 {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	}
	require.Eventually(t, func() bool { return len(q.Datagrams()) == 1 }, sockettest.Patience, 1e6)
	sockettest.Stop(t, c)
	s := c.Stats()
	require.EqualValues(t, 1, s.Handled, "the one in the channel")
	require.Len(t, q.Datagrams(), 1, "can still be taken")
	_, ok := <-q.Refusals()
	require.False(t, ok)
}

// A Queue of several sockets ends with the last of them, and for good.
func TestQueueOfSeveralSockets(t *testing.T) {
	q := udp.NewQueue(10, udp.Block)
	one, two := sockettest.Listen(t, udp.Config{}, "udp4", q), sockettest.Listen(t, udp.Config{}, "udp4", q)
	sockettest.Stop(t, one)
	three := sockettest.Listen(t, udp.Config{}, "udp4", q)
	for _, c := range []*udp.Conn{two, three} {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
		require.Same(t, c, sockettest.Next(t, q.Datagrams()).Conn())
	}
	sockettest.Stop(t, two)
	select {
	case <-q.Done():
		require.Fail(t, "one socket is left")
	default:
	}
	sockettest.Stop(t, three)
	sockettest.Next(t, q.Done())
	_, ok := <-q.Datagrams()
	require.False(t, ok)

	_, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", q)
	sockettest.RequireOpError(t, err, "listen")
	require.ErrorIs(t, err, net.ErrClosed)

	// A Listen that was under way when the Queue ended gives a closed socket.
	type wrapped struct{ *udp.Queue }
	c, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", wrapped{q})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	sockettest.Next(t, c.Done())
	require.Zero(t, c.Stats().Panics)
}

// The newest refusals are kept, so that nobody has to take them.
func TestQueueKeepsTheNewestRefusals(t *testing.T) {
	q := udp.NewQueue(2, udp.Block)
	for i := range 10 {
		q.Refused(nil, &udp.Refusal{Code: uint8(i)})
	}
	require.EqualValues(t, 8, sockettest.Next(t, q.Refusals()).Code)
	require.EqualValues(t, 9, sockettest.Next(t, q.Refusals()).Code)

	q = udp.NewQueue(2, udp.DropNewest)
	dead := sockettest.DeadPort(t, "udp4")
	c := sockettest.Dial(t, dead, q)
	require.NoError(t, c.Send([]byte("x")))
	sockettest.RequireRefused(t, c.Conn, sockettest.Next(t, q.Refusals()), dead, "x")
	require.Zero(t, c.Stats().RefusalsLost)

	// Those that are dropped are counted.
	for range 5 {
		require.NoError(t, c.Send([]byte("x")))
	}
	require.Eventually(t, func() bool { return c.Stats().RefusalsLost == 3 }, sockettest.Patience, time.Millisecond)
	require.Len(t, q.Refusals(), 2)
}

func TestNewQueue(t *testing.T) {
	for _, bad := range []udp.Overflow{-1, 3} {
		require.PanicsWithValue(t, fmt.Sprintf("udp: NewQueue: invalid Overflow(%d)", int(bad)), func() { udp.NewQueue(1, bad) })
	}
	require.Equal(t, 1, cap(udp.NewQueue(0, udp.Block).Datagrams()))
	require.Equal(t, 7, cap(udp.NewQueue(7, udp.Block).Datagrams()))
}

// Receive returns datagrams in order, ICMP errors, and in the end why it is the end.
func TestQueueReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := sockettest.NewScripted(), udp.NewQueue(10, udp.Block)
		c := s.Listen(t, udp.Config{}, q)
		ctx, cancel := context.WithCancel(context.Background())

		s.Inputs <- sockettest.Coalesced("abc")
		synctest.Wait()
		require.Equal(t, udp.QueueStats{Received: 3, Waiting: 3, Peak: 3}, q.Stats())
		for _, want := range []string{"a", "b"} {
			d, err := q.Receive(ctx)
			require.NoError(t, err)
			require.Equal(t, want, string(d.Data))
			require.Same(t, c, d.Conn())
			d.Release()
		}
		cancel()
		d, err := q.Receive(ctx)
		require.NoError(t, err, "what waits is returned although ctx is done")
		require.Equal(t, "c", string(d.Data))
		d.Release()
		_, err = q.Receive(ctx)
		require.ErrorIs(t, err, context.Canceled)

		time.AfterFunc(time.Second, func() { s.Arrive("late") })
		start := time.Now()
		d, err = q.Receive(context.Background())
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(start), "it waits")
		d.Release()

		s.Inputs <- []socket.Report{{Peer: sockettest.There, Err: net.UnknownNetworkError("refused")}}
		_, err = q.Receive(context.Background())
		require.ErrorIs(t, err, udp.ErrRefused)
		var refusal *udp.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, sockettest.There, refusal.Peer)

		s.Arrive("last")
		synctest.Wait()
		sockettest.Stop(t, c)
		d, err = q.Receive(context.Background())
		require.NoError(t, err, "the datagrams come before the end")
		d.Release()
		for range 2 {
			_, err = q.Receive(context.Background())
			require.ErrorIs(t, err, net.ErrClosed)
		}
		require.Equal(t, udp.QueueStats{Received: 5, Peak: 3}, q.Stats())
	})
}

// What stopped the socket is what Receive returns after the last datagram.
func TestQueueReceiveSaysWhatStoppedTheSocket(t *testing.T) {
	s, q := sockettest.NewScripted(), udp.NewQueue(10, udp.Block)
	c := s.Listen(t, udp.Config{}, q)
	s.Arrive("x")
	s.Fail(net.ErrClosed)
	d, err := q.Receive(t.Context())
	require.NoError(t, err)
	d.Release()
	_, err = q.Receive(t.Context())
	sockettest.RequireOpError(t, err, "read")
	sockettest.Next(t, c.Done()) // the Queue ends first
	require.Equal(t, c.Err(), err)
	require.Equal(t, q.Err(), err)
}

// All ends with the Queue, with its context, or with the loop.
func TestQueueAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := sockettest.NewScripted(), udp.NewQueue(10, udp.Block)
		c := s.Listen(t, udp.Config{}, q)
		s.Inputs <- sockettest.Coalesced("abcd")
		synctest.Wait()
		take := func(ctx context.Context, n int) (got []string) {
			for d := range q.All(ctx) {
				got = append(got, string(d.Data))
				if d.Release(); len(got) == n {
					break
				}
			}
			return got
		}
		require.Equal(t, []string{"a", "b"}, take(context.Background(), 2))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		require.Equal(t, []string{"c", "d"}, take(ctx, 10))
		require.Equal(t, time.Second, time.Since(start))
		time.AfterFunc(time.Second, func() { c.Close() })
		require.Empty(t, take(context.Background(), 10))
		require.NoError(t, q.Err())
		<-q.Done()
		<-c.Done()
	})
}

// What waits is returned even if the context has ended, ICMP errors too.
func TestReceiveWithAnEndedContextReturnsWhatWaits(t *testing.T) {
	for range 100 { // Receive selects at random
		q := udp.NewQueue(10, udp.Block)
		q.Refused(nil, &udp.Refusal{Peer: sockettest.There})
		q.Received(nil, udp.Datagram{Data: []byte("x")})
		datagrams, refusals := 0, 0
		for range 2 {
			switch _, err := q.Receive(sockettest.Canceled()); {
			case err == nil:
				datagrams++
			default:
				require.ErrorIs(t, err, udp.ErrRefused)
				refusals++
			}
		}
		require.Equal(t, []int{1, 1}, []int{datagrams, refusals})
		_, err := q.Receive(sockettest.Canceled())
		require.ErrorIs(t, err, context.Canceled)
	}
}

// All ends with its context, even if datagrams arrive faster than they are handled.
func TestQueueAllEndsInAFlood(t *testing.T) {
	q := udp.NewQueue(10, udp.DropNewest)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 3 {
		q.Received(nil, udp.Datagram{})
	}
	n := 0
	for range q.All(ctx) {
		q.Received(nil, udp.Datagram{})
		q.Received(nil, udp.Datagram{})
		cancel()
		if n++; n > 100 {
			break
		}
	}
	require.Equal(t, 1+4, n, "those that waited when the context ended")
}

// Several consumers share a Queue; each datagram is one's.
func TestQueueWithSeveralConsumers(t *testing.T) {
	const n = 2000
	q := udp.NewQueue(16, udp.Block)
	s := sockettest.NewScripted()
	c := s.Listen(t, udp.Config{}, q)
	var taken [4]map[string]bool
	var consumers sync.WaitGroup
	for i := range taken {
		taken[i] = map[string]bool{}
		consumers.Go(func() {
			for {
				d, err := q.Receive(t.Context())
				if err != nil {
					assert.ErrorIs(t, err, net.ErrClosed)
					return
				}
				taken[i][string(d.Data)] = true
				d.Release()
			}
		})
	}
	for i := range n {
		s.Arrive(fmt.Sprint(i))
	}
	require.NoError(t, c.Shutdown(t.Context()))
	consumers.Wait()
	all := map[string]bool{}
	for _, m := range taken {
		for data := range m {
			require.False(t, all[data], "%s came twice", data)
			all[data] = true
		}
	}
	require.Len(t, all, n)
}

// A Handler may put what it likes of a segment into a Queue, also twice, and panic:
// what is in the Queue is never overwritten, and no buffer stays in use.
func TestSegmentsInAQueueKeepTheirBuffersAndNoOthers(t *testing.T) {
	for name, test := range map[string]struct {
		reads [][]string // segments: q is put into the Queue, Q twice, p panics, P is put and panics
		want  int
	}{
		"all":                        {[][]string{{"qqq", "qq"}}, 5},
		"some":                       {[][]string{{"-q-q-", "-", "q"}}, 3},
		"twice":                      {[][]string{{"QqQ", "-Q"}}, 7},
		"a panic in a segment":       {[][]string{{"qpq", "q"}}, 3},
		"a panic at the end of one":  {[][]string{{"q-p", "q-q"}}, 3},
		"a panic at the end of all":  {[][]string{{"q-p"}, {"q-q"}, {"q"}}, 4},
		"a panic after it was put":   {[][]string{{"qPq-P", "q-P"}, {"P"}}, 7},
		"panics and nothing but one": {[][]string{{"p", "p", "q"}, {"p"}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			before := buffer.Live()
			s := sockettest.NewScripted()
			q := udp.NewQueue(100, udp.Block)
			c := s.Listen(t, udp.Config{Logger: sockettest.Quiet}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
				switch d.Data[0] {
				case 'Q':
					q.Received(c, d)
					q.Received(c, d)
				case 'q', 'P':
					q.Received(c, d)
				}
				switch d.Data[0] {
				case 'p', 'P':
					panic("as the test wants")
				}
			}))
			for _, data := range test.reads {
				s.Inputs <- sockettest.Coalesced(data...)
			}
			require.NoError(t, c.Shutdown(t.Context()))
			require.Len(t, q.Datagrams(), test.want)
			for range test.want {
				d := <-q.Datagrams()
				require.Contains(t, "qQP", string(d.Data))
				d.Release()
			}
			require.Equal(t, before, buffer.Live(), "each buffer is in the pool again")
			sockettest.CountersAgree(t, c.Stats())
		})
	}
}

// What a callback that calls runtime.Goexit leaves of its read is counted while it
// is still its own: the memory of it goes to the next socket that reads.
func TestGoexitInTheMiddleOfACoalescedPacketCountsTheRest(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that it is the next one's
	ended, goOn := make(chan struct{}), make(chan struct{})
	log := slog.New(logFunc(func() { close(ended); <-goOn }))
	cfg := udp.Config{Logger: log}
	c, err := cfg.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		// Broadcast is not allowed on this socket. Where more datagrams of the read
		// follow, that is found out and logged after Goexit.
		if err := c.Enqueue(udp.Message{Data: d.Data, To: sockettest.At("255.255.255.255", 9)}); err != nil {
			log.Warn("at once")
		}
		runtime.Goexit()
	}))
	require.NoError(t, err)
	other := udp.NewQueue(10, udp.Block)
	o := sockettest.Listen(t, udp.Config{}, "udp4", other)
	segment := make([]udp.Message, 10)
	for i := range segment {
		segment[i] = udp.Message{Data: []byte("a datagram"), To: c.LocalAddrPort()}
	}
	_, err = o.SendBatch(segment)
	require.NoError(t, err)
	sockettest.Next(t, ended)
	for range 2 {
		require.NoError(t, o.SendTo([]byte("x"), o.LocalAddrPort()))
		sockettest.Next(t, other.Datagrams()).Release()
	}
	close(goOn)
	sockettest.Next(t, c.Done())
	s := c.Stats()
	require.Equal(t, udp.Drops{Panicked: 1, Closed: 9}, s.Dropped)
	sockettest.CountersAgree(t, s)
}

// logFunc is called for each record.
type logFunc func()

func (f logFunc) Enabled(context.Context, slog.Level) bool  { return true }
func (f logFunc) Handle(context.Context, slog.Record) error { f(); return nil }
func (f logFunc) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f logFunc) WithGroup(string) slog.Handler             { return f }
