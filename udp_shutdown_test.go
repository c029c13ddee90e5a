package udp_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

// consumers are the ways to consume datagrams: each makes a Handler that calls
// handle for each of them, and wait, which returns when it will call it no more.
var consumers = []struct {
	name string
	make func(t testing.TB, handle func(udp.Datagram)) (h udp.Handler, wait func())
}{
	{"a plain handler", func(t testing.TB, handle func(udp.Datagram)) (udp.Handler, func()) {
		return udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { handle(d) }), func() {}
	}},
	{"a Queue", func(t testing.TB, handle func(udp.Datagram)) (udp.Handler, func()) {
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
	{"Workers", func(t testing.TB, handle func(udp.Datagram)) (udp.Handler, func()) {
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 3, Key: lastByte, Capacity: 10,
			Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { handle(d) })})
		return w, func() {}
	}},
}

// A sender that stopped before Shutdown loses nothing but what the kernel had no
// room for.
func TestShutdownHandlesAllThatWasSentBefore(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		for _, consumer := range consumers {
			t.Run(network+", "+consumer.name, func(t *testing.T) {
				const sent = 1000
				var handled atomic.Int64
				called := make(chan struct{})
				h, wait := consumer.make(t, func(d udp.Datagram) {
					<-called // so all of it waits in the kernel, or before the consumer
					handled.Add(1)
				})
				c := sockettest.Listen(t, udp.Config{ReadBuffer: 8 << 20}, network, h)
				sender := sockettest.ListenNet(t, network)
				for i := range sent {
					_, err := sender.WriteToUDPAddrPort([]byte(strconv.Itoa(i)), c.LocalAddrPort())
					require.NoError(t, err)
				}
				result := make(chan error, 1)
				go func() { result <- c.Shutdown(t.Context()) }()
				close(called)
				require.NoError(t, sockettest.Next(t, result))
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
			h, wait := consumer.make(t, func(udp.Datagram) {
				select {
				case received <- struct{}{}:
				default:
				}
			})
			c := sockettest.Listen(t, udp.Config{}, "udp4", h)
			var senders sync.WaitGroup
			quit := make(chan struct{})
			for range 2 {
				sender := sockettest.ListenNet(t, "udp4")
				senders.Go(func() {
					for {
						select {
						case <-quit:
							return
						default:
							sender.WriteToUDPAddrPort([]byte("flood"), c.LocalAddrPort())
						}
					}
				})
			}
			for range 100 {
				sockettest.Next(t, received)
			}
			ctx, cancel := context.WithTimeout(t.Context(), sockettest.Patience)
			defer cancel()
			require.NoError(t, c.Shutdown(ctx))
			wait()
			close(quit)
			senders.Wait()
			// The portable path can't keep out what comes after, and drops it.
			require.Equal(t, udp.Drops{Closed: c.Stats().Dropped.Closed}, c.Stats().Dropped)
		})
	}
}

// When its context ends first, Shutdown returns the context's error while a handler
// is stuck, and what was not handled by then is counted as closed.
func TestShutdownCutShortCountsWhatItDidNotHandle(t *testing.T) {
	for _, test := range []struct {
		name    string
		make    func(received func()) (udp.Handler, func())
		handled int
	}{
		{"a handler that is stuck in the fourth of eight", func(received func()) (udp.Handler, func()) {
			n := 0
			return udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
				if n++; n == 4 {
					received()
				}
			}), func() {}
		}, 4},
		{"a Queue that nobody reads", func(func()) (udp.Handler, func()) {
			q := udp.NewQueue(3, udp.Block)
			return q, func() {
				n := 0
				for range q.Datagrams() {
					n++
				}
				require.Equal(t, 3, n, "what lies in the channel can still be received")
			}
		}, 3},
		{"Workers that are stuck in their first", func(received func()) (udp.Handler, func()) {
			return sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { received() })}),
				func() {}
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release, open := sockettest.NewGate()
				defer open()
				h, check := test.make(func() { <-release })
				s := sockettest.NewScripted()
				s.Arrive("1", "2", "3")
				s.Arrive("4", "5", "6")
				s.Arrive("7")
				s.Arrive("8")
				c := s.Listen(t, udp.Config{}, h)
				synctest.Wait()

				ctx, cancel := context.WithCancel(context.Background())
				result := make(chan error, 1)
				go func() { result <- c.Shutdown(ctx) }()
				synctest.Wait()
				cancel()
				err := <-result
				require.ErrorIs(t, err, context.Canceled)
				sockettest.RequireOpError(t, err, "shutdown")

				open()
				<-c.Done()
				require.NoError(t, c.Err(), "it was asked to stop")
				check()
				st := c.Stats()
				sockettest.CountersAgree(t, st)
				require.EqualValues(t, 8, st.Received)
				require.EqualValues(t, test.handled, st.Handled, "the one that was stuck is handled in the end")
				require.Equal(t, udp.Drops{Closed: uint64(8 - test.handled)}, st.Dropped)
			})
		})
	}
}

// However a Shutdown that is cut short races the reader, the Workers and whoever
// empties the Queue, what was handled and what was dropped is all that came.
func TestShutdownCutShortIsExact(t *testing.T) {
	for _, consumer := range consumers {
		t.Run(consumer.name, func(t *testing.T) {
			short, rounds := 0, 100
			if testing.Short() {
				rounds = 15
			}
			for round := range rounds {
				var handled atomic.Int64
				at := make(chan struct{})
				after := int64(round * 300 / rounds)
				h, wait := consumer.make(t, func(udp.Datagram) {
					if handled.Add(1) == after {
						close(at)
					}
				})
				c := sockettest.Listen(t, udp.Config{ReadBuffer: 4 << 20}, "udp4", h)
				sender := sockettest.ListenNet(t, "udp4")
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
				sockettest.Next(t, c.Done())
				wait()
				cancel()
				s := c.Stats()
				sockettest.CountersAgree(t, s)
				require.EqualValues(t, s.Handled, handled.Load())
				if err == nil {
					require.Zero(t, s.Dropped)
					continue
				}
				require.ErrorIs(t, err, context.Canceled)
				require.Equal(t, udp.Drops{Closed: s.Dropped.Closed}, s.Dropped)
				if s.Dropped.Closed > 0 {
					short++
				}
			}
			t.Log(short, "were cut short")
		})
	}
}

func TestShutdownWithAnEndedContextCountsWhatTheKernelHas(t *testing.T) {
	const sent = 100
	gate, open := sockettest.NewGate()
	defer open()
	stuck := make(chan struct{})
	var once sync.Once
	c := sockettest.Listen(t, udp.Config{ReadBuffer: 1 << 20}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		once.Do(func() { close(stuck) })
		<-gate
	}))
	sender := sockettest.ListenNet(t, "udp4")
	for range sent {
		_, err := sender.WriteToUDPAddrPort([]byte("x"), c.LocalAddrPort())
		require.NoError(t, err)
	}
	sockettest.Next(t, stuck)
	err := c.Shutdown(sockettest.Canceled())
	require.ErrorIs(t, err, context.Canceled)
	open()
	sockettest.Next(t, c.Done())
	require.EqualValues(t, 1, c.Stats().Handled)
	require.Equal(t, udp.Drops{Closed: sent - 1}, c.Stats().Dropped)
}

func TestShutdownAndCloseFromInsideAndOutsideMayMeet(t *testing.T) {
	for _, test := range []struct {
		name   string
		inside func(c *udp.Conn)
	}{
		{"Close", func(c *udp.Conn) { c.Close() }},
		{"Shutdown", func(c *udp.Conn) { go c.Shutdown(context.Background()) }},
		{"Shutdown, then Close", func(c *udp.Conn) { go c.Shutdown(context.Background()); c.Close() }},
		{"both, twice", func(c *udp.Conn) {
			go c.Close()
			go c.Shutdown(context.Background())
			c.Close()
			go c.Shutdown(context.Background())
		}},
	} {
		for _, workers := range []bool{false, true} {
			name := test.name
			if workers {
				name += " Workers"
			}
			t.Run(name, func(t *testing.T) {
				r := sockettest.NewRecorder()
				r.OnReceived = func(c *udp.Conn, d udp.Datagram) { test.inside(c) }
				var h udp.Handler = r
				if workers {
					h = sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: r})
				}
				c := sockettest.Listen(t, udp.Config{}, "udp4", h)
				_, err := sockettest.ListenNet(t, "udp4").WriteToUDPAddrPort([]byte("x"), c.LocalAddrPort())
				require.NoError(t, err)
				sockettest.Next(t, c.Done())
				require.Equal(t, []string{"Started", "Received", "Stopped"}, r.Names())
				require.NoError(t, c.Shutdown(t.Context()), "it is over already")
				require.NoError(t, c.Close())
			})
		}
	}
}

// blockingLog is a slog.Handler that does not return until it is released.
type blockingLog struct{ entered, release chan struct{} }

func (l blockingLog) Enabled(context.Context, slog.Level) bool { return true }
func (l blockingLog) Handle(context.Context, slog.Record) error {
	l.entered <- struct{}{}
	<-l.release
	return nil
}
func (l blockingLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l blockingLog) WithGroup(string) slog.Handler      { return l }

// Shutdown ends with its context, and Close returns at once, whatever of the user's
// blocks: a Logger, or an InterfaceFilter.
func TestShutdownEndsWhileALoggerOrAFilterBlocks(t *testing.T) {
	for _, blocks := range []string{"Logger", "InterfaceFilter"} {
		for _, end := range []string{"Shutdown", "Close"} {
			t.Run(blocks+", "+end, func(t *testing.T) {
				entered, release := make(chan struct{}, 100), make(chan struct{})
				n := udptest.NewNet(t, udptest.Config{})
				host := n.Host("h", "10.0.0.1/24")
				cfg := host.Config()
				var c *udp.Conn
				if blocks == "Logger" {
					cfg.Logger = slog.New(blockingLog{entered, release})
					var err error
					c, err = cfg.Listen(t.Context(), "udp4", ":0", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { panic("logged") }))
					require.NoError(t, err)
					require.NoError(t, c.SendTo(nil, sockettest.At("10.0.0.1", c.LocalAddrPort().Port())))
				} else {
					var once sync.Once
					started := make(chan struct{})
					cfg.InterfaceFilter = func(*net.Interface) bool {
						select {
						case <-started:
							once.Do(func() { entered <- struct{}{}; <-release })
						default:
						}
						return true
					}
					m, err := cfg.ListenMulticast(t.Context(), "udp4", ":0", udp.BaseHandler{}, netip.MustParseAddr("239.1.2.3"))
					require.NoError(t, err)
					close(started)
					host.Interface("eth0").SetDown(true)
					c = m.Conn
				}
				<-entered
				if end == "Shutdown" {
					ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
					defer cancel()
					if err := c.Shutdown(ctx); blocks == "Logger" { // else the reader is not the one that waits
						require.ErrorIs(t, err, context.DeadlineExceeded)
					}
				} else {
					require.NoError(t, c.Close())
				}
				close(release)
				<-c.Done()
				require.NoError(t, c.Err())
			})
		}
	}
}
