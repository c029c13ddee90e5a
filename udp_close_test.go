package udp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
)

// Close returns while a callback runs. From then on sends fail, and Done is closed
// after the last callback has returned.
//
// Twisted: P4 S1
func TestCloseReturnsAndDoneFollows(t *testing.T) {
	h := sockettest.NewRecorder()
	release := make(chan struct{})
	h.OnReceived = func(*udp.Conn, udp.Datagram) { <-release }
	c := sockettest.Listen(t, udp.Config{}, "udp4", h)
	h.Next(t, "Started")
	for range 3 {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	}
	h.Next(t, "Received")
	select {
	case <-c.Closing():
		require.Fail(t, "nobody has closed it")
	default:
	}
	for range 10 {
		require.NoError(t, c.Close())
	}
	sockettest.Next(t, c.Closing())
	require.ErrorIs(t, c.SendTo([]byte("x"), c.LocalAddrPort()), net.ErrClosed)
	select {
	case <-c.Done():
		require.Fail(t, "a callback runs")
	default:
	}
	require.NoError(t, c.Err())
	close(release)
	sockettest.Next(t, c.Done())
	require.NoError(t, c.Err())
	require.Equal(t, []string{"Stopped"}, h.Names(), "what was queued is not handled any more")
	require.EqualValues(t, 1, c.Stats().Handled)
}

// However sends race Close, each is either sent and counted or says that the
// socket is closed; nothing hangs.
func TestCloseAgainstSend(t *testing.T) {
	const goroutines, each = 100, 20
	for range 20 {
		sink := sockettest.ListenNet(t, "udp4")
		c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
		var wg sync.WaitGroup
		var sent, failed [goroutines]uint64
		begin := make(chan struct{})
		for g := range goroutines {
			wg.Go(func() {
				<-begin
				for i := range each {
					var err error
					if i%2 == 0 {
						err = c.SendTo([]byte("x"), sockettest.AddrPort(sink))
					} else {
						_, err = c.SendBatch([]udp.Message{{Data: []byte("x"), To: sockettest.AddrPort(sink)}})
					}
					if err == nil {
						sent[g]++
						continue
					}
					failed[g]++
					assert.ErrorIs(t, err, net.ErrClosed)
				}
			})
		}
		wg.Go(func() { <-begin; assert.NoError(t, c.Close()) })
		close(begin)
		wg.Wait()
		<-c.Done()
		var s, f uint64
		for g := range goroutines {
			s, f = s+sent[g], f+failed[g]
		}
		st := c.Stats()
		require.Equal(t, s, st.Sent)
		require.Equal(t, f, st.SendErrors)
		require.EqualValues(t, goroutines*each, s+f)
	}
}

// ends are the ways to end a socket without waiting for its callbacks.
var ends = []struct {
	name string
	end  func(*udp.Conn)
}{
	{"Close", func(c *udp.Conn) { c.Close() }},
	{"Close twice", func(c *udp.Conn) { c.Close(); c.Close() }},
	{"Shutdown with a context that has ended", func(c *udp.Conn) { c.Shutdown(sockettest.Canceled()) }},
	{"Run with a context that has ended", func(c *udp.Conn) { c.Run(sockettest.Canceled(), 0) }},
	{"go Shutdown", func(c *udp.Conn) { go c.Shutdown(context.Background()) }},
	{"go Run", func(c *udp.Conn) { go c.Run(sockettest.Canceled(), sockettest.Patience) }},
	{"from a goroutine that is joined", func(c *udp.Conn) {
		joined := make(chan struct{})
		go func() { defer close(joined); c.Close() }()
		<-joined
	}},
	{"Shutdown from a goroutine that is joined", func(c *udp.Conn) {
		joined := make(chan struct{})
		go func() { defer close(joined); c.Shutdown(sockettest.Canceled()) }()
		<-joined
	}},
	{"from many goroutines that are joined", func(c *udp.Conn) {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if i%2 == 0 {
					c.Close()
				} else {
					c.Shutdown(sockettest.Canceled())
				}
			})
		}
		all.Wait()
	}},
}

// A socket can be ended in every callback, whatever goroutine calls, and Stopped
// follows, once.
//
// Twisted: P3 P4 S2 S3
// ReactorShutdownInteractionTests.testShutdownFromDatagramReceived
// DatagramTransportTestsMixin.test_stopProtocolScheduling
func TestEndFromEveryCallback(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, way := range ends {
		for _, callback := range []string{"Started", "Received", "ReadDone", "Refused", "Stopped", "OnSendError"} {
			for _, workers := range []bool{false, true} {
				if workers && callback == "ReadDone" {
					continue // which Workers do not have
				}
				t.Run(fmt.Sprintf("%s in %s, Workers %v", way.name, callback, workers), func(t *testing.T) {
					s, h, called := sockettest.NewScripted(), &ending{Recorder: sockettest.NewRecorder()}, make(chan struct{}, 10)
					w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Handler: h.Recorder})
					switch callback {
					case "Started":
						h.OnStarted = way.end
					case "Received":
						h.OnReceived = func(c *udp.Conn, _ udp.Datagram) { way.end(c) }
					case "ReadDone":
						h.readDone = way.end
					case "Refused":
						h.OnRefused = func(c *udp.Conn, _ *udp.Refusal) { way.end(c) }
					case "Stopped":
						h.OnStopped = func(c *udp.Conn, _ error) { way.end(c) }
					case "OnSendError":
						s.OnSend = func(socket.Message) error { return net.UnknownNetworkError("fails") }
						h.OnReceived = func(_ *udp.Conn, d udp.Datagram) {
							for workers && d.Data[0] == 'x' && w.Stats().Waiting < 2 {
								runtime.Gosched() // so that the reply is kept
							}
							d.Reply([]byte("one"))
						}
					}
					cfg := udp.Config{OnSendError: func(c *udp.Conn, _ netip.AddrPort, _ error) {
						called <- struct{}{}
						way.end(c)
					}}
					var handler udp.Handler = h
					if workers {
						handler = w
					}
					c := s.Dial(t, cfg, handler)
					switch callback {
					case "Received", "ReadDone":
						s.Arrive("x")
					case "OnSendError":
						s.Arrive("x", "y", "z")
						sockettest.Next(t, called)
					case "Refused":
						s.Inputs <- []socket.Report{{Peer: sockettest.There, Err: net.UnknownNetworkError("refused")}}
					case "Stopped":
						require.NoError(t, c.Close())
					}
					sockettest.Next(t, c.Done())
					names := h.Names()
					require.Equal(t, "Started", names[0])
					require.Equal(t, "Stopped", names[len(names)-1])
					require.NoError(t, c.Err())
					require.NoError(t, c.Close())
					require.NoError(t, c.Shutdown(t.Context()))
					require.NoError(t, c.Run(t.Context(), 0))
					require.ErrorIs(t, c.Send([]byte("x")), net.ErrClosed)
					sockettest.CountersAgree(t, c.Stats())
				})
			}
		}
	}
}

// ending is a recorder with ReadDone.
type ending struct {
	*sockettest.Recorder
	readDone func(*udp.Conn)
}

func (e *ending) ReadDone(c *udp.Conn) {
	if e.readDone != nil {
		e.readDone(c)
	}
}

// locking is a Handler whose callbacks need a mutex.
type locking struct {
	udp.BaseHandler
	mu    sync.Mutex
	calls int
}

func (l *locking) Received(*udp.Conn, udp.Datagram) { l.mu.Lock(); l.calls++; l.mu.Unlock() }
func (l *locking) ReadDone(*udp.Conn)               { l.mu.Lock(); l.calls++; l.mu.Unlock() }
func (l *locking) Stopped(*udp.Conn, error)         { l.mu.Lock(); l.calls++; l.mu.Unlock() }

// A socket can be ended under a mutex that its callbacks need.
func TestEndUnderAMutexThatACallbackNeeds(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	n := 100_000
	if testing.Short() {
		n = 2_000
	}
	for i := range n {
		s := sockettest.NewScriptedOf(2)
		for range 2 {
			b := buffer.Of(1)
			s.Inputs <- []socket.Packet{{Data: b.B[:1], Buf: b, From: sockettest.There}}
		}
		h := &locking{}
		c := s.Listen(t, udp.Config{}, h)
		if i%16 == 0 {
			runtime.Gosched() // so that the reader is somewhere else each time
		}
		h.mu.Lock()
		switch i % 4 {
		case 0:
			c.Shutdown(sockettest.Canceled())
		case 1:
			c.Run(sockettest.Canceled(), 0)
		default:
			c.Close()
		}
		h.mu.Unlock()
		<-c.Done()
	}
}

// The same with the kernel's sockets, and with Workers and their goroutines.
func TestEndUnderAMutexThatAWorkerNeeds(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for range 200 {
		h := &locking{}
		c, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Handler: h}))
		require.NoError(t, err)
		for range 3 {
			require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
		}
		h.mu.Lock()
		c.Close()
		h.mu.Unlock()
		sockettest.Next(t, c.Done())
		sockettest.CountersAgree(t, c.Stats())
	}
}

// Close, Shutdown and Run from many goroutines at once all return.
//
// Twisted: S2
func TestShutdownAgainstClose(t *testing.T) {
	for range 50 {
		h := sockettest.NewRecorder()
		c := sockettest.Listen(t, udp.Config{}, "udp4", h)
		var wg sync.WaitGroup
		for i := range 15 {
			wg.Go(func() {
				switch i % 3 {
				case 0:
					assert.NoError(t, c.Close())
				case 1:
					assert.NoError(t, c.Shutdown(context.Background()))
				case 2:
					assert.NoError(t, c.Run(context.Background(), 0))
				}
			})
		}
		wg.Wait()
		require.Equal(t, []string{"Started", "Stopped"}, h.Names())
	}
}

// closer ends other sockets from its own callbacks, as a relay does.
type closer struct {
	udp.BaseHandler
	ready  chan struct{} // closed when others is set
	others []*udp.Conn
	end    func(*udp.Conn)
}

func (c *closer) Received(*udp.Conn, udp.Datagram) { c.Stopped(nil, nil) }

func (c *closer) Stopped(*udp.Conn, error) {
	<-c.ready
	for _, other := range c.others {
		c.end(other)
	}
}

// Sockets whose callbacks end each other do not wait for each other, two of them
// or more in a ring, whoever begins.
func TestSocketsThatEndEachOther(t *testing.T) {
	for _, way := range ends {
		for _, n := range []int{1, 2, 3} {
			for _, workers := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, a ring of %d, Workers %v", way.name, n, workers), func(t *testing.T) {
					handlers := make([]*closer, n)
					conns := make([]*udp.Conn, n)
					for i := range n {
						handlers[i] = &closer{end: way.end, ready: make(chan struct{})}
						var h udp.Handler = handlers[i]
						if workers {
							h = sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Handler: h})
						}
						conns[i] = sockettest.Listen(t, udp.Config{}, "udp4", h)
					}
					for i, h := range handlers {
						h.others = []*udp.Conn{conns[(i+1)%n]}
						close(h.ready)
					}
					var all sync.WaitGroup
					for i, c := range conns {
						all.Go(func() {
							if i%2 == 0 {
								c.SendTo([]byte("x"), c.LocalAddrPort())
							}
							way.end(c)
						})
					}
					all.Wait()
					for _, c := range conns {
						sockettest.Next(t, c.Done())
					}
				})
			}
		}
	}
}

// The same while both are in Received, of which one is a worker's.
func TestSocketsThatCloseEachOtherWhileTheyReceive(t *testing.T) {
	conns := make(chan *udp.Conn, 2)
	var met sync.WaitGroup
	met.Add(2)
	var sockets [2]*udp.Conn
	ready := make(chan struct{})
	received := func(c *udp.Conn, _ udp.Datagram) {
		<-ready
		met.Done()
		met.Wait()
		other := sockets[0]
		if other == c {
			other = sockets[1]
		}
		assert.NoError(t, other.Close())
		conns <- c
	}
	sockets[0] = sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(received))
	sockets[1] = sockettest.Listen(t, udp.Config{}, "udp4", sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Handler: udp.HandlerFunc(received)}))
	close(ready)
	for _, c := range sockets {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	}
	sockettest.Next(t, conns)
	sockettest.Next(t, conns)
	sockettest.Next(t, sockets[0].Done())
	sockettest.Next(t, sockets[1].Done())
}

// A callback may wait until another socket has stopped.
func TestACallbackMayWaitForAnotherSocket(t *testing.T) {
	stopped := sockettest.NewRecorder()
	other := sockettest.Listen(t, udp.Config{}, "udp4", stopped)
	stopped.Next(t, "Started")
	seen := make(chan []string, 1)
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		assert.NoError(t, other.Shutdown(context.Background()))
		seen <- stopped.Names()
	}))
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	require.Equal(t, []string{"Stopped"}, sockettest.Next(t, seen))
}

// A worker may close a socket whose callback then gives those Workers a datagram.
func TestCloseByAWorkerThatTheSocketComesToNeed(t *testing.T) {
	for range 20 {
		var x *udp.Conn
		ready := make(chan struct{})
		w := sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if string(d.Data) == "close" {
				<-ready
				assert.NoError(t, x.Close())
			}
		})})
		a := sockettest.Listen(t, udp.Config{}, "udp4", w)
		in := make(chan struct{})
		x = sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
			close(in)
			<-c.Closing()
			w.Received(c, d)
		}))
		close(ready)
		require.NoError(t, a.SendTo([]byte("hi"), x.LocalAddrPort()))
		sockettest.Next(t, in)
		require.NoError(t, a.SendTo([]byte("close"), a.LocalAddrPort()))
		sockettest.Next(t, x.Done())
		sockettest.Stop(t, a)
	}
}

// Closing ends a Handler that blocks.
func TestClosingReachesAHandlerThatBlocks(t *testing.T) {
	in := make(chan struct{})
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(c *udp.Conn, _ udp.Datagram) {
		close(in)
		<-c.Closing()
	}))
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	sockettest.Next(t, in)
	sockettest.Stop(t, c)
	require.EqualValues(t, 1, c.Stats().Handled)
}

// Run ends with the socket, or shuts it down when its context ends.
func TestRun(t *testing.T) {
	run := func(c *udp.Conn, ctx context.Context, grace time.Duration) <-chan error {
		result := make(chan error, 1)
		go func() { result <- c.Run(ctx, grace) }()
		return result
	}
	t.Run("Close", func(t *testing.T) {
		c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
		result := run(c, t.Context(), 0)
		require.NoError(t, c.Close())
		require.NoError(t, sockettest.Next(t, result))
	})
	t.Run("the socket fails", func(t *testing.T) {
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
		result := run(c, t.Context(), sockettest.Patience)
		s.Inputs <- error(net.ErrClosed)
		err := sockettest.Next(t, result)
		sockettest.RequireOpError(t, err, "read")
		require.ErrorIs(t, err, net.ErrClosed)
		require.Equal(t, err, c.Err())
		require.Equal(t, err, c.Run(sockettest.Canceled(), sockettest.Patience), "also afterwards")
	})
	t.Run("its context ends", func(t *testing.T) {
		release, in := make(chan struct{}), make(chan struct{}, 10)
		c := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { in <- struct{}{}; <-release }))
		ctx, cancel := context.WithCancel(t.Context())
		result := run(c, ctx, sockettest.Patience)
		for range 3 {
			require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
		}
		sockettest.Next(t, in)
		cancel()
		close(release)
		require.NoError(t, sockettest.Next(t, result))
		require.EqualValues(t, 3, c.Stats().Handled, "what was queued is handled")
		sockettest.Next(t, c.Done())
	})
	t.Run("grace is over", func(t *testing.T) {
		release, in := make(chan struct{}), make(chan struct{})
		c := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { close(in); <-release }))
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
		sockettest.Next(t, in)
		err := c.Run(sockettest.Canceled(), time.Millisecond)
		sockettest.RequireOpError(t, err, "shutdown")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(release)
		sockettest.Next(t, c.Done())
	})
}
