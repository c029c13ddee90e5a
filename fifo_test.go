package udp_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/sockettest"
)

var overflows = []udp.Overflow{udp.Block, udp.DropNewest, udp.DropOldest}

// What a Handler passes on to a Queue is Handled by its socket, whatever becomes of
// it there, and the Queue counts it, however it comes there.
func TestAQueueCountsWhatIsPassedOn(t *testing.T) {
	kept := make(chan udp.Datagram, 1) // of another socket
	for name, pass := range map[string]func(q *udp.Queue, c *udp.Conn, d udp.Datagram){
		"its own":           func(q *udp.Queue, c *udp.Conn, d udp.Datagram) { q.Received(c, d) },
		"a copy":            func(q *udp.Queue, c *udp.Conn, d udp.Datagram) { q.Received(c, d.Clone()) },
		"without its Conn":  func(q *udp.Queue, _ *udp.Conn, d udp.Datagram) { q.Received(nil, d) },
		"another socket's":  func(q *udp.Queue, c *udp.Conn, _ udp.Datagram) { q.Received(c, <-kept) },
		"one that was made": func(q *udp.Queue, c *udp.Conn, _ udp.Datagram) { q.Received(c, udp.Datagram{Data: []byte("made")}) },
		"one of no socket":  func(q *udp.Queue, _ *udp.Conn, _ udp.Datagram) { q.Received(nil, udp.Datagram{}) },
		"elsewhere": func(q *udp.Queue, c *udp.Conn, d udp.Datagram) {
			elsewhere(func() { q.Received(c, d) })
		},
	} {
		for _, overflow := range overflows {
			t.Run(name+", "+overflow.String(), func(t *testing.T) {
				capacity := 1
				if overflow == udp.Block {
					capacity = 2
				}
				q := udp.NewQueue(capacity, overflow)
				a, b := sockettest.NewScripted(), sockettest.NewScripted()
				other := a.Listen(t, udp.Config{}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
					if name == "another socket's" {
						d.Retain()
						kept <- d
					}
				}))
				c := b.Listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { pass(q, c, d) }))
				a.Arrive("1", "2")
				b.Inputs <- sockettest.Coalesced("34")
				require.NoError(t, c.Shutdown(t.Context()))
				require.NoError(t, other.Shutdown(t.Context()))
				require.Len(t, q.Datagrams(), capacity)
				for _, c := range []*udp.Conn{c, other} {
					s := c.Stats()
					require.Equal(t, [2]uint64{2, 2}, [2]uint64{s.Received, s.Handled})
					require.Zero(t, s.Panics)
					sockettest.CountersAgree(t, s)
				}
				require.Equal(t, udp.QueueStats{
					Received: 2, Dropped: uint64(2 - capacity), Waiting: capacity, Peak: uint64(capacity),
				}, q.Stats())
			})
		}
	}
}

// A panic after a datagram was passed on is the Handler's, and the datagram stays.
func TestAPanicDoesNotTakeBackWhatWasPassedOn(t *testing.T) {
	s, q := sockettest.NewScripted(), udp.NewQueue(10, udp.Block)
	c := s.Listen(t, udp.Config{Logger: sockettest.Quiet}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		q.Received(c, d)
		panic("too late")
	}))
	s.Inputs <- sockettest.Coalesced("abc", "d")
	require.NoError(t, c.Shutdown(t.Context()))
	require.Equal(t, udp.Drops{Panicked: 4}, c.Stats().Dropped)
	sockettest.CountersAgree(t, c.Stats())
	require.Equal(t, udp.QueueStats{Received: 4, Waiting: 4, Peak: 4}, q.Stats())
	for _, want := range []string{"a", "b", "c", "d"} {
		d := <-q.Datagrams()
		require.Equal(t, want, string(d.Data))
		d.Release()
	}
}

// The same datagram in two Queues is one datagram of each.
func TestADatagramInTwoQueuesIsCountedByEach(t *testing.T) {
	before := buffer.Live()
	first, second := udp.NewQueue(10, udp.DropNewest), udp.NewQueue(2, udp.DropNewest)
	s := sockettest.NewScripted()
	c := s.Listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		first.Received(c, d)
		second.Received(c, d)
	}))
	s.Inputs <- sockettest.Coalesced("abc")
	require.NoError(t, c.Shutdown(t.Context()))
	require.EqualValues(t, 3, c.Stats().Handled)
	require.Equal(t, udp.QueueStats{Received: 3, Waiting: 3, Peak: 3}, first.Stats())
	require.Equal(t, udp.QueueStats{Received: 3, Dropped: 1, Waiting: 2, Peak: 2}, second.Stats())
	for range 3 {
		(<-first.Datagrams()).Release()
	}
	for range 2 {
		(<-second.Datagrams()).Release()
	}
	require.Equal(t, before, buffer.Live())
}

// endedQueue is a Queue whose only socket has stopped.
func endedQueue(t *testing.T, overflow udp.Overflow) *udp.Queue {
	t.Helper()
	q := udp.NewQueue(10, overflow)
	sockettest.Stop(t, sockettest.NewScripted().Listen(t, udp.Config{}, q))
	return q
}

// What is passed to a Queue or Workers without a socket is dropped and counted by
// them; the socket that it came by has handled it.
func TestWhatIsPassedToWhatHasEndedIsDropped(t *testing.T) {
	for _, overflow := range overflows {
		for name, test := range map[string]func(t *testing.T) (h udp.Handler, dropped func() (received, dropped uint64)){
			"a Queue": func(t *testing.T) (udp.Handler, func() (uint64, uint64)) {
				q := endedQueue(t, overflow)
				return udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { q.Received(c, d) }),
					func() (uint64, uint64) { return q.Stats().Received, q.Stats().Dropped }
			},
			"Workers": func(t *testing.T) (udp.Handler, func() (uint64, uint64)) {
				w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Overflow: overflow, Handler: udp.BaseHandler{}})
				sockettest.Stop(t, sockettest.NewScripted().Listen(t, udp.Config{}, w))
				return udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { w.Received(c, d) }),
					func() (uint64, uint64) { return w.Stats().Received, w.Stats().Dropped }
			},
			"Workers that never had a socket": func(t *testing.T) (udp.Handler, func() (uint64, uint64)) {
				w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Overflow: overflow, Handler: udp.BaseHandler{}})
				return udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { w.Received(c, d) }),
					func() (uint64, uint64) { return w.Stats().Received, w.Stats().Dropped }
			},
			"a Queue, behind Workers": func(t *testing.T) (udp.Handler, func() (uint64, uint64)) {
				q := endedQueue(t, overflow)
				return sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.HandlerFunc(q.Received)}),
					func() (uint64, uint64) { return q.Stats().Received, q.Stats().Dropped }
			},
			"a Queue, from another goroutine": func(t *testing.T) (udp.Handler, func() (uint64, uint64)) {
				q := endedQueue(t, overflow)
				return udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { elsewhere(func() { q.Received(c, d) }) }),
					func() (uint64, uint64) { return q.Stats().Received, q.Stats().Dropped }
			},
		} {
			t.Run(name+", "+overflow.String(), func(t *testing.T) {
				before := buffer.Live()
				h, counted := test(t)
				s := sockettest.NewScripted()
				c := s.Listen(t, udp.Config{}, h)
				s.Inputs <- sockettest.Coalesced("abc", "d")
				require.NoError(t, c.Shutdown(t.Context()))
				require.Zero(t, c.Stats().Dropped)
				require.EqualValues(t, 4, c.Stats().Handled)
				require.Zero(t, c.Stats().Panics)
				received, dropped := counted()
				require.Equal(t, [2]uint64{4, 4}, [2]uint64{received, dropped})
				require.Equal(t, before, buffer.Live())
			})
		}
	}
}

// A Queue or Workers may end while others pass datagrams to them, or wait for room.
func TestAQueueMayEndWhileOthersPutIntoIt(t *testing.T) {
	for _, overflow := range overflows {
		for _, workers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, Workers %v", overflow, workers), func(t *testing.T) {
				for range 5 {
					q := udp.NewQueue(3, overflow)
					var h udp.Handler = q
					var w *udp.Workers
					if workers {
						w = sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Capacity: 1, Overflow: overflow, Handler: udp.BaseHandler{}})
						h = w
					}
					its := sockettest.NewScripted().Listen(t, udp.Config{}, h)
					var others []*udp.Conn
					var passed atomic.Int64
					for range 2 {
						s := sockettest.NewScripted()
						for range 10 {
							s.Arrive("1", "2", "3")
						}
						others = append(others, s.Listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
							passed.Add(1)
							h.Received(c, d)
						})))
					}
					for passed.Load() < 4 {
						runtime.Gosched()
					}
					sockettest.Stop(t, its)
					for _, c := range others {
						require.NoError(t, c.Shutdown(t.Context()), "none waits for room for ever")
						s := c.Stats()
						require.Equal(t, [2]uint64{30, 30}, [2]uint64{s.Received, s.Handled})
						require.Zero(t, s.Panics)
						sockettest.CountersAgree(t, s)
					}
					if workers {
						s := w.Stats()
						require.EqualValues(t, 60, s.Received)
						require.Equal(t, s.Received, s.Handled+s.Dropped+s.Closed+s.Panicked+uint64(s.Waiting), "%+v", s)
						continue
					}
					s, taken := q.Stats(), 0
					for d := range q.Datagrams() {
						d.Release()
						taken++
					}
					require.EqualValues(t, 60, s.Received)
					require.EqualValues(t, 60, s.Dropped+uint64(taken), "%+v", s)
				}
			})
		}
	}
}

// A chain of a Handler, a Queue, its consumer and Workers: each counts its own.
func TestTheCountersOfAChainAgree(t *testing.T) {
	for _, overflow := range overflows {
		t.Run(overflow.String(), func(t *testing.T) {
			const n = 3000
			before := buffer.Live()
			var handled atomic.Uint64
			w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 3, Key: lastByte, Capacity: 4, Overflow: overflow,
				Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
					if handled.Add(1); d.Data[0] == 'p' {
						handled.Add(^uint64(0))
						panic("as the test wants")
					}
				})})
			own := sockettest.Listen(t, udp.Config{Logger: sockettest.Quiet}, "udp4", w) // keeps the Workers going
			q := udp.NewQueue(10, overflow)
			// A wrapper that the socket does not know for a Queue.
			first := &wrapper{Handler: q, received: func(c *udp.Conn, d udp.Datagram) {
				if d.Data[0] == 'd' {
					d.Drop()
					return
				}
				q.Received(c, d)
			}}
			s := sockettest.NewScripted()
			c := s.Listen(t, udp.Config{Logger: sockettest.Quiet}, first)
			var consumer sync.WaitGroup
			taken := uint64(0)
			consumer.Go(func() {
				for d := range q.Datagrams() {
					taken++
					w.Received(d.Conn(), d)
					d.Release()
				}
			})
			for i := range n / 3 {
				s.Inputs <- sockettest.Coalesced(fmt.Sprintf("%cx%d", "apd"[i%3], i%10))
			}
			require.NoError(t, c.Shutdown(t.Context()))
			consumer.Wait()
			require.NoError(t, own.Shutdown(t.Context()))

			st := c.Stats()
			sockettest.CountersAgree(t, st)
			require.EqualValues(t, n, st.Received)
			require.Equal(t, udp.Drops{Handler: n / 9}, st.Dropped)
			qs := q.Stats()
			require.Equal(t, st.Handled, qs.Received)
			require.Equal(t, qs.Received, qs.Dropped+taken)
			ws := w.Stats()
			require.Equal(t, taken, ws.Received)
			require.Equal(t, handled.Load(), ws.Handled)
			require.Equal(t, ws.Received, ws.Handled+ws.Dropped+ws.Panicked+ws.Closed)
			require.Zero(t, own.Stats().Received, "they came by another socket")
			if overflow == udp.Block {
				require.Positive(t, ws.Panicked)
				require.Zero(t, qs.Dropped)
			}
			require.Equal(t, before, buffer.Live(), "no buffer is left")
		})
	}
}

// wrapper replaces the Received of another Handler.
type wrapper struct {
	udp.Handler
	received func(*udp.Conn, udp.Datagram)
}

func (w *wrapper) Received(c *udp.Conn, d udp.Datagram) { w.received(c, d) }

// Workers get what sockets of other Handlers pass on, with the socket it came by,
// and do not handle what waits when that socket closes.
func TestWorkersWithDatagramsOfOtherSockets(t *testing.T) {
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed inside %v", inside), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var by []*udp.Conn
				passed := make(chan struct{}) // all of them, before the first one closes the socket
				w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
					<-passed
					by = append(by, c)
					if inside {
						c.Close()
					}
					time.Sleep(time.Second)
				})})
				its := sockettest.NewScripted().Listen(t, udp.Config{}, w)
				s := sockettest.NewScripted()
				reads := 0
				h := sockettest.NewRecorder()
				h.OnReceived = func(_ *udp.Conn, d udp.Datagram) { w.Received(its, d) }
				c := s.Listen(t, udp.Config{}, &ending{Recorder: h,
					readDone: func(*udp.Conn) {
						if reads++; reads == 1 {
							close(passed)
						}
					}})
				s.Arrive("1", "2", "3")
				synctest.Wait()
				start := time.Now()
				sockettest.Stop(t, c)
				require.Zero(t, time.Since(start), "it does not wait for Workers that are not its own")
				require.EqualValues(t, 3, c.Stats().Handled)
				require.Zero(t, c.Stats().Dropped)
				sockettest.Stop(t, its)
				require.Equal(t, []*udp.Conn{c}, by, "it is called with the socket that the datagram came by")
				require.Zero(t, its.Stats().Received)
				ws := w.Stats()
				ws.Peak = 0 // 2, or 3 if the worker began late
				require.Equal(t, udp.WorkersStats{Received: 3, Handled: 1, Closed: 2}, ws)
			})
		})
	}
}

// A datagram that somebody has made goes through a Queue and Workers as of the
// socket that it is given as.
func TestWhatSomebodyHasMadeIsPassedOn(t *testing.T) {
	made := udp.Datagram{Data: []byte("made"), From: netip.MustParseAddrPort("127.0.0.1:9")}
	t.Run("Queue", func(t *testing.T) {
		q := udp.NewQueue(2, udp.DropNewest)
		c := sockettest.NewScripted().Listen(t, udp.Config{}, udp.BaseHandler{})
		for range 3 {
			q.Received(c, made)
		}
		d := <-q.Datagrams()
		require.Same(t, c, d.Conn())
		require.Equal(t, made.From, d.From)
		d.Release()
		sockettest.Stop(t, c)
		require.Zero(t, c.Stats().Received)
		require.Equal(t, udp.QueueStats{Received: 3, Dropped: 1, Waiting: 1, Peak: 2}, q.Stats())
	})
	t.Run("Workers", func(t *testing.T) {
		handled := make(chan *udp.Conn, 2)
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
			if handled <- c; string(d.Data) == "panic" {
				panic("as the test wants")
			}
		})})
		c := sockettest.NewScripted().Listen(t, udp.Config{}, w)
		w.Received(c, made)
		require.Same(t, c, sockettest.Next(t, handled))
		w.Received(nil, udp.Datagram{Data: []byte("panic")})
		require.Nil(t, sockettest.Next(t, handled))
		w.Received(nil, made)
		require.Nil(t, sockettest.Next(t, handled))
		sockettest.Stop(t, c)
		w.Received(c, made)
		require.Zero(t, c.Stats().Received)
		ws := w.Stats()
		ws.Peak = 0 // 1, unless the worker took each at once
		require.Equal(t, udp.WorkersStats{Received: 4, Handled: 2, Dropped: 1, Panicked: 1}, ws)
	})
}

// What Received passes on stays valid, though its buffer is overwritten after it
// has returned, and although the consumer takes it much later.
func TestWhatIsPassedOnIsRetained(t *testing.T) {
	before := buffer.Live()
	const n = 500 // more than are left in the buffers that they came in
	s, q := sockettest.NewScripted(), udp.NewQueue(n, udp.Block)
	c := s.Listen(t, udp.Config{}, udp.HandlerFunc(q.Received))
	for i := range n {
		s.Arrive(fmt.Sprint("datagram ", i))
	}
	require.NoError(t, c.Shutdown(t.Context()))
	for i := range n {
		d := <-q.Datagrams()
		require.Equal(t, fmt.Sprint("datagram ", i), string(d.Data))
		d.Release()
	}
	require.Equal(t, before, buffer.Live())
}
