package udp_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
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
			w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 4, Key: test.key, Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
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
			})})
			c := sockettest.Listen(t, udp.Config{ReadBuffer: 8 << 20}, "udp4", w)
			for range test.senders {
				s := sockettest.ListenNet(t, "udp4")
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
		gate, open := sockettest.NewGate()
		defer open()
		s := sockettest.NewScripted()
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: n, Key: lastByte, Handler: udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
			running.Add(1)
			<-gate
		})})
		c := s.Listen(t, udp.Config{}, w)
		for key := range 256 { // that none of them falls on one of eight is one chance in 10^14
			s.Arrive(string([]byte{byte(key)}))
		}
		synctest.Wait()
		require.EqualValues(t, n, running.Load())
		open()
		require.NoError(t, c.Shutdown(context.Background()))
		require.EqualValues(t, 256, running.Load())
		sockettest.CountersAgree(t, c.Stats())
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
				gate, open := sockettest.NewGate()
				defer open()
				w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Capacity: 3, Overflow: test.overflow,
					Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
						<-gate
						handled = append(handled, string(d.Data))
					})})
				s := sockettest.NewScripted()
				c := s.Listen(t, udp.Config{}, w)
				s.Arrive("0")
				synctest.Wait() // it has left the channel
				for i := 1; i < 10; i++ {
					s.Arrive(strconv.Itoa(i))
				}
				synctest.Wait()
				require.EqualValues(t, test.dropped, c.Stats().Dropped.Queue)
				require.Zero(t, c.Stats().Handled, "what waits is not handled yet")
				open()
				require.NoError(t, c.Shutdown(context.Background()))
				require.Equal(t, test.handled, handled)
				st := c.Stats()
				sockettest.CountersAgree(t, st)
				require.Equal(t, udp.Drops{Queue: test.dropped}, st.Dropped)
				require.EqualValues(t, len(handled), st.Handled)
				require.EqualValues(t, 3, st.QueuePeak)
				require.Equal(t, udp.WorkersStats{
					Received: 10, Handled: uint64(len(handled)), Dropped: test.dropped, Peak: 3,
				}, w.Stats())
			})
		})
	}
}

func TestWorkersSurvivePanicsAndGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled []string
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			switch string(d.Data) {
			case "panic":
				panic("as the test wants")
			case "exit":
				runtime.Goexit()
			}
			handled = append(handled, string(d.Data))
		})})
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{Logger: sockettest.Quiet}, w)
		s.Arrive("1", "panic", "2", "exit", "3", "exit", "panic", "4")
		require.NoError(t, c.Shutdown(context.Background()))
		require.Equal(t, []string{"1", "2", "3", "4"}, handled)
		st := c.Stats()
		sockettest.CountersAgree(t, st)
		require.Equal(t, udp.Drops{Panicked: 4}, st.Dropped)
		require.EqualValues(t, 4, st.Panics)
		require.EqualValues(t, 4, st.Handled)
		ws := w.Stats()
		require.Equal(t, [3]uint64{8, 4, 4}, [3]uint64{ws.Received, ws.Handled, ws.Panicked})
	})
}

// A key that panics costs its datagram, like a Received that does.
func TestWorkersSurviveAKeyThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Key: lastByte, Handler: udp.BaseHandler{}})
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{Logger: sockettest.Quiet}, w)
		s.Arrive("1", "", "2") // an empty one has no last byte
		require.NoError(t, c.Shutdown(context.Background()))
		sockettest.CountersAgree(t, c.Stats())
		require.Equal(t, udp.Drops{Panicked: 1}, c.Stats().Dropped)
		require.EqualValues(t, 2, c.Stats().Handled)
	})
}

func TestCloseDropsWhatWaitsInWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, open := sockettest.NewGate()
		defer open()
		r := sockettest.NewRecorder()
		r.OnReceived = func(*udp.Conn, udp.Datagram) { <-gate }
		s := sockettest.NewScripted()
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: r})
		c := s.Listen(t, udp.Config{}, w)
		s.Arrive("1", "2", "3")
		synctest.Wait()
		require.NoError(t, c.Close())
		synctest.Wait()
		select {
		case <-c.Done():
			require.Fail(t, "done before the callback has returned")
		default:
		}
		open()
		<-c.Done()
		require.Equal(t, []string{"Started", "Received", "Stopped"}, r.Names())
		require.Equal(t, udp.Drops{Closed: 2}, c.Stats().Dropped)
		require.EqualValues(t, 1, c.Stats().Handled)
		ws := w.Stats()
		require.Equal(t, [3]uint64{3, 1, 2}, [3]uint64{ws.Received, ws.Handled, ws.Closed})
	})
}

// Until Workers have handled the last datagram their socket still sends.
func TestWorkersReplyDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, open := sockettest.NewGate()
		defer open()
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Key: lastByte, Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			<-gate
			if err := d.Reply(d.Data); err != nil {
				t.Error(err)
			}
		})})
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, w)
		s.Arrive("1", "2", "3", "4")
		synctest.Wait()
		result := make(chan error, 1)
		go func() { result <- c.Shutdown(context.Background()) }()
		synctest.Wait()
		open()
		require.NoError(t, <-result)
		require.ElementsMatch(t, []string{"1", "2", "3", "4"}, s.SentData)
	})
}

// The goroutines of Workers serve several sockets, end with the last one, and
// start again with another.
func TestWorkersServeSocketsAsTheyComeAndGo(t *testing.T) {
	r := sockettest.NewRecorder()
	var mu sync.Mutex // the recorder minds callbacks at the same time, and these may be
	r.OnReceived = func(*udp.Conn, udp.Datagram) { mu.Lock(); defer mu.Unlock() }
	w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 3, Handler: r})
	before := goleak.IgnoreCurrent()
	for range 3 {
		a, b := sockettest.Listen(t, udp.Config{}, "udp4", w), sockettest.Listen(t, udp.Config{}, "udp4", w)
		r.Next(t, "Started")
		r.Next(t, "Started")
		require.NoError(t, a.SendTo([]byte("to b"), b.LocalAddrPort()))
		e := r.Next(t, "Received")
		require.Equal(t, "to b", e.Data)
		require.Same(t, b, e.Conn)
		sockettest.Stop(t, b)
		require.Same(t, b, r.Next(t, "Stopped").Conn)
		require.NoError(t, a.SendTo([]byte("to a"), a.LocalAddrPort()))
		require.Equal(t, "to a", r.Next(t, "Received").Data)
		sockettest.Stop(t, a)
		r.Next(t, "Stopped")
	}
	goleak.VerifyNone(t, before)
}

// What a worker passes on to a Queue is Handled by the socket, and counted by the
// Queue.
func TestWorkersBeforeAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := udp.NewQueue(2, udp.DropOldest)
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: q})
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, w)
		s.Arrive("1", "2", "3", "4", "5", "6")
		require.NoError(t, c.Shutdown(context.Background()))
		sockettest.CountersAgree(t, c.Stats())
		require.Zero(t, c.Stats().Dropped)
		require.EqualValues(t, 6, c.Stats().Handled)
		require.EqualValues(t, 6, w.Stats().Handled)
		require.Equal(t, udp.QueueStats{Received: 6, Dropped: 4, Waiting: 2, Peak: 2}, q.Stats())
		for _, want := range []string{"5", "6"} {
			d := <-q.Datagrams()
			require.Equal(t, want, string(d.Data))
			d.Release()
		}
	})
}

// Shutdown waits for datagrams and ICMP errors that a Handler in front of the Workers, such as
// a limit.Limiter, has passed on.
func TestShutdownWaitsForWhatWasPassedOnToWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var received, refused, failed atomic.Int32
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: slow{func(c *udp.Conn, refusal bool) {
			<-release
			if refusal {
				refused.Add(1)
			} else {
				received.Add(1)
			}
			if c.SendTo(nil, sockettest.There) != nil {
				failed.Add(1)
			}
		}}})
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, front{w})
		s.Arrive("one", "two", "three")
		s.Inputs <- []socket.Report{{Peer: sockettest.There, Err: syscall.ECONNREFUSED}}
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- c.Shutdown(context.Background()) }()
		synctest.Wait()
		require.Empty(t, done)
		close(release)
		require.NoError(t, <-done)
		require.Equal(t, []int32{3, 1, 0}, []int32{received.Load(), refused.Load(), failed.Load()})
		require.EqualValues(t, 3, w.Stats().Handled)
	})
}

// front is a Handler in front of Workers.
type front struct{ *udp.Workers }

// slow calls a function for each datagram and ICMP error.
type slow struct {
	do func(c *udp.Conn, refusal bool)
}

func (s slow) Started(*udp.Conn)                    {}
func (s slow) Received(c *udp.Conn, _ udp.Datagram) { s.do(c, false) }
func (s slow) Refused(c *udp.Conn, _ *udp.Refusal)  { s.do(c, true) }
func (s slow) Stopped(*udp.Conn, error)             {}

// PerWorker gives each goroutine a Handler of its own, which needs no lock.
func TestEachWorkerMayHaveAHandlerOfItsOwn(t *testing.T) {
	const n = 4
	var handlers []*counting
	w := sockettest.NewWorkers(t, udp.WorkersConfig{N: n, Key: lastByte, PerWorker: func(i int) udp.Handler {
		require.Len(t, handlers, i)
		handlers = append(handlers, new(counting))
		return handlers[i]
	}})
	require.Len(t, handlers, n)
	s := sockettest.NewScripted()
	c := s.Listen(t, udp.Config{}, w)
	for key := range 256 {
		s.Arrive(string([]byte{byte(key)}))
		s.Arrive(string([]byte{byte(key)}))
	}
	require.NoError(t, c.Shutdown(t.Context()))
	total, keys := 0, map[byte]int{}
	for i, h := range handlers {
		require.Equal(t, [2]int{1, 1}, [2]int{h.started, h.stopped})
		for key, times := range h.received {
			require.Equal(t, 2, times, "a key has one worker")
			keys[key] = i
			total += times
		}
	}
	require.Equal(t, 512, total)
	require.Len(t, keys, 256)
	require.EqualValues(t, 512, w.Stats().Handled)
}

// A panic in one of the Handlers keeps no call from the others.
func TestAPanicOfOneWorkersHandlerKeepsNoCallFromTheOthers(t *testing.T) {
	handlers := make([]*panicking, 3)
	w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 3, PerWorker: func(i int) udp.Handler {
		handlers[i] = &panicking{now: i < 2}
		return handlers[i]
	}})
	c := sockettest.NewScripted().Listen(t, udp.Config{Logger: slog.New(slog.DiscardHandler)}, w)
	sockettest.Stop(t, c)
	for _, h := range handlers {
		require.Equal(t, [2]int{1, 1}, [2]int{h.started, h.stopped})
	}
	require.EqualValues(t, 4, c.Stats().Panics)
}

// panicking is counting, whose Started and Stopped panic.
type panicking struct {
	counting
	now bool
}

func (p *panicking) Started(c *udp.Conn) {
	p.counting.Started(c)
	if p.now {
		panic("Started")
	}
}

func (p *panicking) Stopped(c *udp.Conn, err error) {
	p.counting.Stopped(c, err)
	if p.now {
		panic("Stopped")
	}
}

// counting is a Handler without a lock.
type counting struct {
	udp.BaseHandler
	started, stopped int
	received         map[byte]int
}

func (c *counting) Started(*udp.Conn) { c.started++; c.received = map[byte]int{} }
func (c *counting) Received(_ *udp.Conn, d udp.Datagram) {
	c.received[d.Data[0]]++
}
func (c *counting) Stopped(*udp.Conn, error) { c.stopped++ }

// What Workers cannot work with is an error when they are made.
func TestNewWorkersChecksItsConfig(t *testing.T) {
	h := udp.BaseHandler{}
	for name, cfg := range map[string]udp.WorkersConfig{
		"no Handler":           {},
		"two kinds of Handler": {Handler: h, PerWorker: func(int) udp.Handler { return h }},
		"PerWorker returns nil": {N: 3, PerWorker: func(i int) udp.Handler {
			if i == 2 {
				return nil
			}
			return h
		}},
		"negative N":         {Handler: h, N: -1},
		"negative capacity":  {Handler: h, Capacity: -1},
		"a huge capacity":    {Handler: h, Capacity: math.MaxInt},
		"an unknown policy":  {Handler: h, Overflow: 3},
		"a negative policy":  {Handler: h, Overflow: -1},
		"all that is nearby": {N: -1, Capacity: -1, Overflow: -1},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := udp.NewWorkers(cfg)
			require.ErrorIs(t, err, os.ErrInvalid)
			require.Contains(t, err.Error(), "udp: workers: ")
			require.Nil(t, w)
		})
	}
	w, err := udp.NewWorkers(udp.WorkersConfig{Handler: h})
	require.NoError(t, err)
	sockettest.Stop(t, sockettest.NewScripted().Listen(t, udp.Config{}, w))

	for _, unmade := range []udp.Handler{new(udp.Workers), new(udp.Queue), (*udp.Workers)(nil), (*udp.Queue)(nil), udp.HandlerFunc(nil), nil} {
		_, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", unmade)
		require.ErrorIs(t, err, os.ErrInvalid)
		sockettest.RequireOpError(t, err, "listen")
	}
}

// Refused is called on the goroutine that handles the peer's datagrams, between those
// that came before and after it.
func TestWorkersGetRefusalsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, each = 20, 10
		var mu sync.Mutex
		got := map[netip.AddrPort][]string{}
		note := func(peer netip.AddrPort, what string) {
			time.Sleep(time.Millisecond) // so that the workers are behind
			mu.Lock()
			defer mu.Unlock()
			got[peer] = append(got[peer], what)
		}
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 4, Handler: &sockettest.Funcs{
			OnReceived: func(_ *udp.Conn, d udp.Datagram) { note(d.From, string(d.Data)) },
			OnRefused:  func(_ *udp.Conn, r *udp.Refusal) { note(r.Peer, "refused "+string(r.Payload)) },
		}})
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, w)
		var want []string
		for i := range each {
			for peer := range peers {
				from := netip.AddrPortFrom(sockettest.There.Addr(), uint16(1000+peer))
				p := sockettest.Packets(fmt.Sprint(i))
				p[0].From = from
				s.Inputs <- p
				s.Inputs <- []socket.Report{{Peer: from, Err: net.UnknownNetworkError("refused"), Payload: fmt.Append(nil, i)}}
			}
			want = append(want, fmt.Sprint(i), fmt.Sprint("refused ", i))
		}
		require.NoError(t, c.Shutdown(context.Background()))
		require.Len(t, got, peers)
		for peer, events := range got {
			require.Equal(t, want, events, "of %v", peer)
		}
		st := c.Stats()
		require.EqualValues(t, peers*each, st.Refused)
		require.EqualValues(t, peers*each, st.Handled, "ICMP errors are no datagrams")
		require.EqualValues(t, peers*each, w.Stats().Handled)
		require.Zero(t, st.RefusalsLost)
		sockettest.CountersAgree(t, st)
	})
}

// Refusals that Workers have no room for, or that wait when the socket closes, are
// counted as lost.
func TestRefusalsThatWorkersLoseAreCounted(t *testing.T) {
	for _, overflow := range []udp.Overflow{udp.DropNewest, udp.DropOldest} {
		t.Run(overflow.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate, open := sockettest.NewGate()
				defer open()
				refused := 0
				w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Capacity: 3, Overflow: overflow, Handler: &sockettest.Funcs{
					OnReceived: func(*udp.Conn, udp.Datagram) { <-gate },
					OnRefused:  func(*udp.Conn, *udp.Refusal) { refused++ },
				}})
				s := sockettest.NewScripted()
				c := s.Listen(t, udp.Config{}, w)
				s.Arrive("x")
				synctest.Wait()
				for range 10 {
					s.Inputs <- []socket.Report{{Peer: sockettest.There, Err: net.UnknownNetworkError("refused")}}
				}
				synctest.Wait()
				require.EqualValues(t, 7, c.Stats().RefusalsLost)
				require.NoError(t, c.Close())
				open()
				<-c.Done()
				require.Zero(t, refused)
				require.EqualValues(t, 10, c.Stats().RefusalsLost)
				sockettest.CountersAgree(t, c.Stats())
				w.Refused(c, &udp.Refusal{Peer: sockettest.There})
				ws := w.Stats()
				require.Equal(t, udp.WorkersStats{Received: 1, Handled: 1, Peak: ws.Peak}, ws, "they are no datagrams")
			})
		})
	}
}

// One for which Key panics is lost, too.
func TestARefusalIsCountedWhenKeyPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sockettest.NewWorkers(t, udp.WorkersConfig{Handler: udp.BaseHandler{}, Key: func(udp.Datagram) uint64 { panic("Key") }})
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{Logger: slog.New(slog.DiscardHandler)}, w)
		s.Inputs <- []socket.Report{{Peer: sockettest.There, Err: net.UnknownNetworkError("refused")}}
		synctest.Wait()
		require.EqualValues(t, 1, c.Stats().Panics)
		require.EqualValues(t, 1, c.Stats().RefusalsLost)
		sockettest.Stop(t, c)
	})
}

// A Handler may pass on ICMP errors, of sockets that do not wait for the Workers.
func TestWorkersWithRefusalsOfOtherSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, open := sockettest.NewGate()
		defer open()
		var refused []*udp.Conn
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: &sockettest.Funcs{
			OnReceived: func(*udp.Conn, udp.Datagram) { <-gate },
			OnRefused:  func(c *udp.Conn, _ *udp.Refusal) { refused = append(refused, c) },
		}})
		s := sockettest.NewScripted()
		own := s.Listen(t, udp.Config{}, w)
		s.Arrive("x")
		synctest.Wait()
		others := sockettest.NewScripted()
		other := others.Listen(t, udp.Config{}, &sockettest.Funcs{OnRefused: w.Refused})
		others.Inputs <- []socket.Report{{Peer: sockettest.There, Err: net.UnknownNetworkError("refused")}}
		w.Refused(nil, &udp.Refusal{Peer: sockettest.There})
		synctest.Wait()
		sockettest.Stop(t, other)
		open()
		sockettest.Stop(t, own)
		require.Equal(t, []*udp.Conn{nil}, refused, "the other one's came too late")
		require.EqualValues(t, 1, other.Stats().RefusalsLost)
		w.Refused(own, &udp.Refusal{Peer: sockettest.There})
	})
}
