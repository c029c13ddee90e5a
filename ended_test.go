package udp_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
)

// endedQueue is a Queue whose only socket has stopped.
func endedQueue(t *testing.T, overflow udp.Overflow) *udp.Queue {
	t.Helper()
	q := udp.NewQueue(10, overflow)
	require.NoError(t, newScripted().listen(t, udp.Config{}, q).Close())
	return q
}

// What has ended takes nothing any more, and what is passed to it is counted,
// whoever passes it.
func TestWhatIsPassedToWhatHasEndedIsDroppedByName(t *testing.T) {
	for _, overflow := range []udp.Overflow{udp.Block, udp.DropNewest, udp.DropOldest} {
		for name, test := range map[string]struct {
			make    func(t *testing.T) udp.Handler
			dropped uint64
		}{
			"a Queue": {func(t *testing.T) udp.Handler {
				q := endedQueue(t, overflow)
				return udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { q.Received(c, d) })
			}, 4},
			"Workers": {func(t *testing.T) udp.Handler {
				w := udp.NewWorkers(1, nil, udp.BaseHandler{})
				w.Overflow = overflow
				require.NoError(t, newScripted().listen(t, udp.Config{}, w).Close())
				return udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { w.Received(c, d) })
			}, 4},
			"Workers that never began": {func(t *testing.T) udp.Handler {
				w := udp.NewWorkers(1, nil, udp.BaseHandler{})
				return udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { w.Received(c, d) })
			}, 4},
			"a Queue, after another": {func(t *testing.T) udp.Handler {
				live, dead := udp.NewQueue(10, overflow), endedQueue(t, overflow)
				return udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
					live.Received(c, d)
					dead.Received(c, d)
				})
			}, 4},
			"a Queue, behind Workers": {func(t *testing.T) udp.Handler {
				dead := endedQueue(t, overflow)
				return udp.NewWorkers(1, nil, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
					if d.Data[0] == 'd' {
						dead.Received(c, d)
					}
				}))
			}, 1},
			"a Queue, from another goroutine": {func(t *testing.T) udp.Handler {
				dead := endedQueue(t, overflow)
				return through{dead, func(pass func()) {
					done := make(chan struct{})
					go func() { defer close(done); pass() }()
					<-done
				}}
			}, 4},
		} {
			t.Run(name+", "+overflow.String(), func(t *testing.T) {
				before := buffer.Live()
				h := test.make(t)
				s := newScripted()
				if _, ok := h.(*udp.Workers); !ok {
					h = udp.HandlerFunc(h.Received) // which does not start or stop what is behind it
				}
				c := s.listen(t, udp.Config{}, h)
				s.inputs <- trains("abc", "d")
				require.NoError(t, c.Shutdown(t.Context()))
				require.Equal(t, udp.Drops{Queue: test.dropped}, c.Stats().Dropped)
				require.Zero(t, c.Stats().Panics)
				balanced(t, c.Stats())
				if name != "a Queue, after another" { // where they still lie in that
					require.Equal(t, before, buffer.Live())
				}
			})
		}
	}
}

// A Queue that ends while others put into it, or wait for room in it, ends in order.
func TestAQueueMayEndWhileOthersPutIntoIt(t *testing.T) {
	for _, overflow := range []udp.Overflow{udp.Block, udp.DropNewest, udp.DropOldest} {
		for _, workers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, Workers %v", overflow, workers), func(t *testing.T) {
				for range 5 {
					var h udp.Handler = udp.NewQueue(3, overflow)
					if workers {
						w := udp.NewWorkers(2, nil, udp.BaseHandler{})
						w.Capacity, w.Overflow = 1, overflow
						h = w
					}
					its := newScripted().listen(t, udp.Config{}, h)
					var others []*udp.Conn
					var passed atomic.Int64
					for range 2 {
						s := newScripted()
						for range 10 {
							s.arrive("1", "2", "3")
						}
						others = append(others, s.listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
							passed.Add(1)
							h.Received(c, d)
						})))
					}
					for passed.Load() < 4 {
						runtime.Gosched()
					}
					require.NoError(t, its.Close())
					for _, c := range others {
						require.NoError(t, c.Shutdown(t.Context()), "none waits for room for ever")
						s := c.Stats()
						require.EqualValues(t, 30, s.Received)
						require.Zero(t, s.Panics)
						balanced(t, s)
					}
				}
			})
		}
	}
}

// Workers may have datagrams of a socket that they are not the Handler of.
func TestWorkersWithDatagramsOfOtherSockets(t *testing.T) {
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed inside %v", inside), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var by []*udp.Conn
				w := udp.NewWorkers(1, nil, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
					by = append(by, c)
					if inside {
						c.Close()
					}
					time.Sleep(time.Second)
				}))
				its := newScripted().listen(t, udp.Config{}, w)
				s := newScripted()
				c := s.listen(t, udp.Config{}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { w.Received(its, d) }))
				s.arrive("1", "2", "3")
				synctest.Wait()
				require.NoError(t, c.Close())
				require.Equal(t, []*udp.Conn{c}, by, "it is called with the socket that the datagram came by")
				require.EqualValues(t, 1, c.Stats().Handled)
				require.Equal(t, udp.Drops{Closed: 2}, c.Stats().Dropped)
				require.NoError(t, its.Close())
				require.Zero(t, its.Stats().Received)
				balanced(t, its.Stats())
			})
		})
	}
}

// Workers take what came by no socket.
func TestWorkersTakeADatagramThatWasMade(t *testing.T) {
	handled := make(chan string, 2)
	w := udp.NewWorkers(1, nil, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		if c == nil && string(d.Data) == "panic" {
			panic("as I was told")
		}
		handled <- string(d.Data)
	}))
	c := newScripted().listen(t, udp.Config{}, w)
	w.Received(nil, udp.Datagram{Data: []byte("panic")})
	w.Received(nil, udp.Datagram{Data: []byte("made")})
	require.Equal(t, "made", next(t, handled))
	require.NoError(t, c.Close())
	w.Received(nil, udp.Datagram{})
	require.Zero(t, c.Stats().Received)
	balanced(t, c.Stats())
}

// A refusal that a Queue has no room for is the loss of the socket that it was
// about, and after the end of the one that brings it.
func TestAQueueChargesARefusalToItsSocket(t *testing.T) {
	q := udp.NewQueue(2, udp.Block)
	a, b := newScripted(), newScripted()
	first, second := a.listen(t, udp.Config{}, q), b.listen(t, udp.Config{}, q)
	for i := range 2 {
		q.Refused(first, &udp.Refusal{Code: uint8(i)})
	}
	q.Refused(second, &udp.Refusal{Code: 2})
	require.EqualValues(t, 1, first.Stats().RefusalsLost)
	require.Zero(t, second.Stats().RefusalsLost)
	require.EqualValues(t, 1, next(t, q.Refusals()).Code)
	q.Refused(second, &udp.Refusal{Code: 3})
	q.Refused(second, &udp.Refusal{Code: 4})
	require.EqualValues(t, 1, second.Stats().RefusalsLost, "that of 2")
	require.NoError(t, first.Close())
	require.NoError(t, second.Close())
	q.Refused(second, &udp.Refusal{Code: 5})
	q.Refused(nil, &udp.Refusal{Code: 6})
	require.EqualValues(t, 2, second.Stats().RefusalsLost)
	require.EqualValues(t, 1, first.Stats().RefusalsLost)
}
