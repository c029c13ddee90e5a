package udp_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// consumers are the ways to consume datagrams: each makes a Handler that calls
// handle for each of them, and wait, which returns when it will call it no more.
var consumers = []struct {
	name string
	make func(handle func(udp.Datagram)) (h udp.Handler, wait func())
}{
	{"a plain handler", func(handle func(udp.Datagram)) (udp.Handler, func()) {
		return udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { handle(d) }), func() {}
	}},
	{"a Queue", func(handle func(udp.Datagram)) (udp.Handler, func()) {
		q := udp.NewQueue(10, udp.Block)
		var consumer sync.WaitGroup
		consumer.Go(func() {
			for d := range q.Datagrams() {
				handle(d)
				d.Release()
			}
		})
		return q, consumer.Wait
	}},
	{"Workers", func(handle func(udp.Datagram)) (udp.Handler, func()) {
		w := udp.NewWorkers(3, func(d udp.Datagram) uint64 { return uint64(d.Data[len(d.Data)-1]) },
			udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { handle(d) }))
		w.Capacity = 10
		return w, func() {}
	}},
}

// A sender that stopped before Shutdown loses nothing but what the kernel had no
// room for.
func TestShutdownHandlesAllThatWasSentBefore(t *testing.T) {
	for _, network := range networks(t) {
		for _, consumer := range consumers {
			t.Run(network+", "+consumer.name, func(t *testing.T) {
				const sent = 1000
				var handled atomic.Int64
				called := make(chan struct{})
				h, wait := consumer.make(func(d udp.Datagram) {
					<-called // so all of it waits in the kernel, or before the consumer
					handled.Add(1)
				})
				c := listen(t, udp.Config{ReadBuffer: 8 << 20}, network, h)
				sender := raw(t, network)
				for i := range sent {
					_, err := sender.WriteToUDPAddrPort([]byte(strconv.Itoa(i)), c.LocalAddrPort())
					require.NoError(t, err)
				}
				result := make(chan error)
				go func() { result <- c.Shutdown(t.Context()) }()
				close(called)
				require.NoError(t, next(t, result))
				wait()
				s := c.Stats()
				require.Zero(t, s.Dropped)
				require.EqualValues(t, s.Handled, handled.Load())
				require.Positive(t, handled.Load())
				if s.KernelDrops >= 0 {
					require.EqualValues(t, sent, handled.Load()+s.KernelDrops)
				}
			})
		}
	}
}

// A sender that goes on and on can't keep Shutdown from ending.
func TestShutdownEndsUnderAFlood(t *testing.T) {
	for _, consumer := range consumers {
		t.Run(consumer.name, func(t *testing.T) {
			received := make(chan struct{}, 1)
			h, wait := consumer.make(func(udp.Datagram) {
				select {
				case received <- struct{}{}:
				default:
				}
			})
			c := listen(t, udp.Config{}, "udp4", h)
			var senders sync.WaitGroup
			stop := make(chan struct{})
			for range 2 {
				sender := raw(t, "udp4")
				senders.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							sender.WriteToUDPAddrPort([]byte("flood"), c.LocalAddrPort())
						}
					}
				})
			}
			for range 100 {
				next(t, received)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.NoError(t, c.Shutdown(ctx))
			wait()
			close(stop)
			senders.Wait()
			// The portable path can't keep out what comes after, and drops it.
			require.Equal(t, udp.Drops{Closed: c.Stats().Dropped.Closed}, c.Stats().Dropped)
		})
	}
}

// When its context ends first, Shutdown says how many datagrams were left, to
// the last one, whatever the handler is stuck in.
func TestShutdownSaysHowManyWereLeft(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(received func()) (udp.Handler, func())
		left int
	}{
		{"a handler that is stuck in the fourth of eight", func(received func()) (udp.Handler, func()) {
			n := 0
			return udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
				if n++; n == 4 {
					received()
				}
			}), func() {}
		}, 5},
		{"a Queue that nobody reads", func(func()) (udp.Handler, func()) {
			q := udp.NewQueue(3, udp.Block)
			return q, func() {
				n := 0
				for range q.Datagrams() {
					n++
				}
				require.Equal(t, 3, n, "what lies in the channel can still be received")
			}
		}, 5},
		{"Workers of which one is stuck in its first of four", func(received func()) (udp.Handler, func()) {
			w := udp.NewWorkers(2, func(d udp.Datagram) uint64 { return uint64(d.Data[0] % 2) },
				udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
					if d.Data[0]%2 == 1 {
						received()
					}
				}))
			return w, func() {}
		}, -1}, // 4 when the keys fall on both goroutines, 7 when not: which is told by Handled
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				h, check := test.make(func() { <-release })
				s := newScripted()
				s.arrive("1", "2", "3")
				s.arrive("4", "5", "6")
				s.arrive("7")
				s.arrive("8")
				c := s.listen(t, udp.Config{}, h)
				synctest.Wait()

				cause := errors.New("enough")
				ctx, cancel := context.WithCancelCause(context.Background())
				result := make(chan error)
				go func() { result <- c.Shutdown(ctx) }()
				synctest.Wait()
				cancel(cause)
				err := <-result
				require.ErrorIs(t, err, cause)
				requireOpError(t, err, "shutdown")
				var left *udp.ShutdownError
				require.ErrorAs(t, err, &left)
				if test.left < 0 {
					test.left = 8 - int(c.Stats().Handled)
				}
				require.Equal(t, test.left, left.Left)

				close(release)
				<-c.Done()
				check()
				st := c.Stats()
				balanced(t, st)
				require.EqualValues(t, 8, st.Received)
				require.InDelta(t, test.left, st.Dropped.Closed, 1, "the one that was stuck is handled in the end")
			})
		})
	}
}

// However a Shutdown that is cut short races the reader, the Workers and whoever
// empties the Queue, what it says was left is dropped, but for those that were
// being handled at that moment, of which there is one for each goroutine.
func TestShutdownCutShortIsExact(t *testing.T) {
	for _, consumer := range consumers {
		t.Run(consumer.name, func(t *testing.T) {
			atOnce := map[string]int{"a plain handler": 1, "a Queue": 1, "Workers": 4}[consumer.name]
			short := 0
			for round := range 100 {
				var handled atomic.Int64
				at := make(chan struct{})
				after := int64(round * 3)
				h, wait := consumer.make(func(udp.Datagram) {
					if handled.Add(1) == after {
						close(at)
					}
				})
				c := listen(t, udp.Config{ReadBuffer: 4 << 20}, "udp4", h)
				sender := raw(t, "udp4")
				for range 400 {
					_, err := sender.WriteToUDPAddrPort([]byte{byte(round), 1}, c.LocalAddrPort())
					require.NoError(t, err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				if after == 0 {
					cancel()
				} else {
					go func() {
						select {
						case <-at:
							cancel()
						case <-ctx.Done():
						}
					}()
				}
				err := c.Shutdown(ctx)
				<-c.Done()
				wait()
				cancel()
				s := c.Stats()
				balanced(t, s)
				var left *udp.ShutdownError
				if err == nil {
					require.Zero(t, s.Dropped)
					continue
				}
				require.ErrorAs(t, err, &left)
				require.GreaterOrEqual(t, left.Left, int(s.Dropped.Closed))
				require.LessOrEqual(t, left.Left, int(s.Dropped.Closed)+atOnce)
				if left.Left > 0 {
					short++
				}
			}
			t.Log(short, "were cut short")
		})
	}
}

func TestShutdownWithAnEndedContextCountsWhatTheKernelHolds(t *testing.T) {
	const sent = 100
	gate, stuck := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c := listen(t, udp.Config{ReadBuffer: 1 << 20}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		once.Do(func() { close(stuck) })
		<-gate
	}))
	defer close(gate)
	sender := raw(t, "udp4")
	for range sent {
		_, err := sender.WriteToUDPAddrPort([]byte("x"), c.LocalAddrPort())
		require.NoError(t, err)
	}
	next(t, stuck)
	err := c.Shutdown(done())
	var left *udp.ShutdownError
	require.ErrorAs(t, err, &left)
	require.Equal(t, sent, left.Left)
	require.ErrorIs(t, err, context.Canceled)
}

func TestShutdownAndCloseFromInsideAndOutsideMayMeet(t *testing.T) {
	for _, test := range []struct {
		name   string
		inside func(c *udp.Conn)
	}{
		{"Close inside", func(c *udp.Conn) { c.Close() }},
		{"Shutdown inside", func(c *udp.Conn) { c.Shutdown(context.Background()) }},
		{"Shutdown, then Close inside", func(c *udp.Conn) { c.Shutdown(context.Background()); c.Close() }},
		{"Shutdown inside, both outside", func(c *udp.Conn) {
			go c.Close()
			c.Shutdown(context.Background())
			go c.Shutdown(context.Background())
		}},
	} {
		for _, workers := range []bool{false, true} {
			name := test.name
			if workers {
				name += " Workers"
			}
			t.Run(name, func(t *testing.T) {
				r := newRecorder()
				r.received = func(c *udp.Conn, d udp.Datagram) { test.inside(c) }
				var h udp.Handler = r
				if workers {
					h = udp.NewWorkers(1, nil, r)
				}
				c := listen(t, udp.Config{}, "udp4", h)
				_, err := raw(t, "udp4").WriteToUDPAddrPort([]byte("x"), c.LocalAddrPort())
				require.NoError(t, err)
				next(t, c.Done())
				require.Equal(t, []string{"Started", "Received", "Stopped"}, r.names())
				require.NoError(t, c.Shutdown(t.Context()), "it is over already")
				require.NoError(t, c.Close())
			})
		}
	}
}
