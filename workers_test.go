package udp_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
)

// lastByte is a key.
func lastByte(d udp.Datagram) uint64 { return uint64(d.Data[len(d.Data)-1]) }

func TestWorkersKeepTheOrderOfEachKey(t *testing.T) {
	for _, test := range []struct {
		name    string
		key     func(udp.Datagram) uint64
		senders int // the key is the sender, or what the datagram says
	}{
		{"the sender", nil, 8},
		{"a letter in the datagram", lastByte, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			const letters, each = 10, 10
			var mu sync.Mutex
			next := map[string]int{}
			total, handled := 0, make(chan struct{})
			w := udp.NewWorkers(4, test.key, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				number, letter, _ := strings.Cut(string(d.Data), " ")
				key := letter
				if test.key == nil {
					key = d.From.String()
				}
				mu.Lock()
				defer mu.Unlock()
				if number != strconv.Itoa(next[key]) {
					t.Errorf("%s: %s came where %d was due", key, number, next[key])
				}
				next[key]++
				if total++; total%100 == 0 {
					handled <- struct{}{}
				}
			}))
			c := listen(t, udp.Config{ReadBuffer: 8 << 20}, "udp4", w)
			for range test.senders {
				s := raw(t, "udp4")
				for i := range each * letters {
					number := i
					if test.key != nil {
						number = i / letters
					}
					_, err := s.WriteToUDPAddrPort(fmt.Appendf(nil, "%d %c", number, 'a'+i%letters), c.LocalAddrPort())
					require.NoError(t, err)
					if i%100 == 99 { // more than this never waits in the kernel
						<-handled
					}
				}
			}
			require.NoError(t, c.Shutdown(t.Context()))
			require.Zero(t, c.Stats().Dropped)
		})
	}
}

func TestWorkersRunAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 8
		var running atomic.Int64
		gate := make(chan struct{})
		s := newScripted()
		w := udp.NewWorkers(n, lastByte, udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
			running.Add(1)
			<-gate
		}))
		c := s.listen(t, udp.Config{}, w)
		for key := range 256 { // that none of them falls on one of eight is one chance in 10^14
			s.arrive(string([]byte{byte(key)}))
		}
		synctest.Wait()
		require.EqualValues(t, n, running.Load())
		close(gate)
		require.NoError(t, c.Shutdown(context.Background()))
		require.EqualValues(t, 256, running.Load())
		balanced(t, c.Stats())
	})
}

func TestWorkersOverflow(t *testing.T) {
	for _, test := range []struct {
		overflow udp.Overflow
		handled  []string
		dropped  uint64
	}{
		{udp.Block, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, 0},
		{udp.DropNewest, []string{"0", "1", "2", "3"}, 6},
		{udp.DropOldest, []string{"0", "7", "8", "9"}, 6},
	} {
		t.Run(test.overflow.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var handled []string
				gate := make(chan struct{})
				w := udp.NewWorkers(1, nil, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
					<-gate
					handled = append(handled, string(d.Data))
				}))
				w.Capacity, w.Overflow = 3, test.overflow
				s := newScripted()
				c := s.listen(t, udp.Config{}, w)
				s.arrive("0")
				synctest.Wait() // it has left the line
				for i := 1; i < 10; i++ {
					s.arrive(strconv.Itoa(i))
				}
				synctest.Wait()
				require.EqualValues(t, test.dropped, c.Stats().Dropped.Queue)
				require.Zero(t, c.Stats().Handled, "what waits is not handled yet")
				close(gate)
				require.NoError(t, c.Shutdown(context.Background()))
				require.Equal(t, test.handled, handled)
				st := c.Stats()
				balanced(t, st)
				require.Equal(t, udp.Drops{Queue: test.dropped}, st.Dropped)
				require.EqualValues(t, len(handled), st.Handled)
				require.EqualValues(t, 3, st.QueuePeak)
			})
		})
	}
}

func TestWorkersSurvivePanicsAndGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled []string
		w := udp.NewWorkers(1, nil, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			switch string(d.Data) {
			case "panic":
				panic("as I was told")
			case "exit":
				runtime.Goexit()
			}
			handled = append(handled, string(d.Data))
		}))
		s := newScripted()
		c := s.listen(t, udp.Config{}, w)
		s.arrive("1", "panic", "2", "exit", "3", "exit", "panic", "4")
		require.NoError(t, c.Shutdown(context.Background()))
		require.Equal(t, []string{"1", "2", "3", "4"}, handled)
		st := c.Stats()
		balanced(t, st)
		require.Equal(t, udp.Drops{Panicked: 4}, st.Dropped)
		require.EqualValues(t, 4, st.Panics)
		require.EqualValues(t, 4, st.Handled)
	})
}

// A key that panics costs its datagram, like a Received that does.
func TestWorkersSurviveAKeyThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := udp.NewWorkers(2, lastByte, udp.BaseHandler{})
		s := newScripted()
		c := s.listen(t, udp.Config{}, w)
		s.arrive("1", "", "2") // an empty one has no last byte
		require.NoError(t, c.Shutdown(context.Background()))
		balanced(t, c.Stats())
		require.Equal(t, udp.Drops{Panicked: 1}, c.Stats().Dropped)
		require.EqualValues(t, 2, c.Stats().Handled)
	})
}

func TestCloseDropsWhatWaitsInWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newRecorder()
		r.received = func(*udp.Conn, udp.Datagram) { <-gate }
		s := newScripted()
		c := s.listen(t, udp.Config{}, udp.NewWorkers(1, nil, r))
		s.arrive("1", "2", "3")
		synctest.Wait()
		closed := make(chan struct{})
		go func() { c.Close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			require.Fail(t, "Close returned before the callback did")
		default:
		}
		close(gate)
		<-closed
		require.Equal(t, []string{"Started", "Received", "Stopped"}, r.names())
		require.Equal(t, udp.Drops{Closed: 2}, c.Stats().Dropped)
		require.EqualValues(t, 1, c.Stats().Handled)
	})
}

// Until Workers have handled the last datagram their socket still sends.
func TestWorkersReplyDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		w := udp.NewWorkers(2, lastByte, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			<-gate
			if err := d.Reply(d.Data); err != nil {
				t.Error(err)
			}
		}))
		s := newScripted()
		c := s.listen(t, udp.Config{}, w)
		s.arrive("1", "2", "3", "4")
		synctest.Wait()
		result := make(chan error)
		go func() { result <- c.Shutdown(context.Background()) }()
		synctest.Wait()
		close(gate)
		require.NoError(t, <-result)
		require.ElementsMatch(t, []string{"1", "2", "3", "4"}, s.sent)
	})
}

// The goroutines of Workers serve several sockets, end with the last one, and
// start again with another.
func TestWorkersServeSocketsAsTheyComeAndGo(t *testing.T) {
	r := newRecorder()
	var mu sync.Mutex // the recorder minds callbacks at the same time, and these may be
	r.received = func(*udp.Conn, udp.Datagram) { mu.Lock(); defer mu.Unlock() }
	w := udp.NewWorkers(3, nil, r)
	before := goleak.IgnoreCurrent()
	for range 3 {
		a, b := listen(t, udp.Config{}, "udp4", w), listen(t, udp.Config{}, "udp4", w)
		r.next(t, "Started")
		r.next(t, "Started")
		require.NoError(t, a.SendTo([]byte("to b"), b.LocalAddrPort()))
		e := r.next(t, "Received")
		require.Equal(t, "to b", e.data)
		require.Same(t, b, e.conn)
		require.NoError(t, b.Close())
		require.Same(t, b, r.next(t, "Stopped").conn)
		require.NoError(t, a.SendTo([]byte("to a"), a.LocalAddrPort()))
		require.Equal(t, "to a", r.next(t, "Received").data)
		require.NoError(t, a.Close())
		r.next(t, "Stopped")
	}
	goleak.VerifyNone(t, before)
}

// A Handler that passes datagrams on, from its own goroutine too, keeps the
// books right.
func TestQueuesAndWorkersBehindOtherHandlers(t *testing.T) {
	for _, test := range []struct {
		name    string
		wrap    func(q *udp.Queue) udp.Handler
		dropped udp.Drops
	}{
		{"Workers before a Queue", func(q *udp.Queue) udp.Handler { return udp.NewWorkers(1, nil, q) },
			udp.Drops{Queue: 4}},
		{"a Handler before Workers before a Queue", func(q *udp.Queue) udp.Handler {
			return through{udp.NewWorkers(1, nil, q), func(pass func()) { pass() }}
		}, udp.Drops{Queue: 4}},
		{"a Handler that passes on from another goroutine", func(q *udp.Queue) udp.Handler {
			return through{q, func(pass func()) {
				done := make(chan struct{})
				go func() { defer close(done); pass() }()
				<-done
			}}
		}, udp.Drops{Queue: 4}},
		{"a Handler that panics after passing on", func(q *udp.Queue) udp.Handler {
			return through{q, func(pass func()) { pass(); panic("too late") }}
		}, udp.Drops{Queue: 4}},
		{"a Handler that panics before", func(q *udp.Queue) udp.Handler {
			return through{q, func(func()) { panic("early") }}
		}, udp.Drops{Panicked: 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := udp.NewQueue(2, udp.DropOldest)
				s := newScripted()
				c := s.listen(t, udp.Config{}, test.wrap(q))
				s.arrive("1", "2", "3", "4", "5", "6")
				require.NoError(t, c.Shutdown(context.Background()))
				balanced(t, c.Stats())
				require.Equal(t, test.dropped, c.Stats().Dropped)
				var left []string
				for d := range q.Datagrams() {
					left = append(left, string(d.Data))
				}
				if test.dropped.Panicked == 0 {
					require.Equal(t, []string{"5", "6"}, left)
				}
			})
		})
	}
}

// through is a Handler before another.
type through struct {
	udp.Handler
	how func(pass func())
}

func (h through) Received(c *udp.Conn, d udp.Datagram) {
	h.how(func() { h.Handler.Received(c, d) })
}

// A socket that gives its datagrams to Workers of others remembers those only that
// there still are.
func TestASocketForgetsWorkersThatHaveEnded(t *testing.T) {
	w := udp.NewWorkers(2, nil, udp.BaseHandler{})
	x := listen(t, udp.Config{}, "udp4", udp.HandlerFunc(w.Received))
	for range 10 {
		a := listen(t, udp.Config{}, "udp4", w)
		before := x.Stats().Handled
		require.NoError(t, x.SendTo([]byte("x"), x.LocalAddrPort()))
		for x.Stats().Handled == before {
			runtime.Gosched()
		}
		require.NoError(t, a.Close())
	}
	require.LessOrEqual(t, x.Crews(), 2, "the last, and the one before, which may just have been ending")
}
