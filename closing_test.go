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
)

// Close returns while a callback runs. From then on sends fail, and Done is closed
// after the last callback has returned.
//
// Twisted: P4 S1
func TestCloseReturnsAndDoneFollows(t *testing.T) {
	h := newRecorder()
	release := make(chan struct{})
	h.received = func(*udp.Conn, udp.Datagram) { <-release }
	c := listen(t, udp.Config{}, "udp4", h)
	h.next(t, "Started")
	for range 3 {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	}
	h.next(t, "Received")
	select {
	case <-c.Closing():
		require.Fail(t, "nobody has closed it")
	default:
	}
	for range 10 {
		require.NoError(t, c.Close())
	}
	next(t, c.Closing())
	require.ErrorIs(t, c.SendTo([]byte("x"), c.LocalAddrPort()), net.ErrClosed)
	select {
	case <-c.Done():
		require.Fail(t, "a callback runs")
	default:
	}
	require.NoError(t, c.Err())
	close(release)
	next(t, c.Done())
	require.NoError(t, c.Err())
	require.Equal(t, []string{"Stopped"}, h.names(), "what was queued is not handled any more")
	require.EqualValues(t, 1, c.Stats().Handled)
}

// However sends race Close, each is either sent and counted or says that the
// socket is closed; nothing hangs.
func TestCloseAgainstSend(t *testing.T) {
	const goroutines, each = 100, 20
	for range 20 {
		sink := raw(t, "udp4")
		c := listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
		var wg sync.WaitGroup
		var sent, failed [goroutines]uint64
		begin := make(chan struct{})
		for g := range goroutines {
			wg.Go(func() {
				<-begin
				for i := range each {
					var err error
					if i%2 == 0 {
						err = c.SendTo([]byte("x"), addrPort(sink))
					} else {
						_, err = c.SendBatch([]udp.Message{{Data: []byte("x"), To: addrPort(sink)}})
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
	{"Shutdown with a context that has ended", func(c *udp.Conn) { c.Shutdown(done()) }},
	{"Run with a context that has ended", func(c *udp.Conn) { c.Run(done(), 0) }},
	{"go Shutdown", func(c *udp.Conn) { go c.Shutdown(context.Background()) }},
	{"go Run", func(c *udp.Conn) { go c.Run(done(), patience) }},
	{"from a goroutine that is joined", func(c *udp.Conn) {
		joined := make(chan struct{})
		go func() { defer close(joined); c.Close() }()
		<-joined
	}},
	{"Shutdown from a goroutine that is joined", func(c *udp.Conn) {
		joined := make(chan struct{})
		go func() { defer close(joined); c.Shutdown(done()) }()
		<-joined
	}},
	{"from many goroutines that are joined", func(c *udp.Conn) {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if i%2 == 0 {
					c.Close()
				} else {
					c.Shutdown(done())
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
					s, h, called := newScripted(), &ending{recorder: newRecorder()}, make(chan struct{}, 10)
					w := newWorkers(t, udp.WorkersConfig{N: 2, Handler: h.recorder})
					switch callback {
					case "Started":
						h.started = way.end
					case "Received":
						h.received = func(c *udp.Conn, _ udp.Datagram) { way.end(c) }
					case "ReadDone":
						h.readDone = way.end
					case "Refused":
						h.refused = func(c *udp.Conn, _ *udp.Refusal) { way.end(c) }
					case "Stopped":
						h.stopped = func(c *udp.Conn, _ error) { way.end(c) }
					case "OnSendError":
						s.send = func(socket.Message) error { return net.UnknownNetworkError("fails") }
						h.received = func(_ *udp.Conn, d udp.Datagram) {
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
					c := s.dial(t, cfg, handler)
					switch callback {
					case "Received", "ReadDone":
						s.arrive("x")
					case "OnSendError":
						s.arrive("x", "y", "z")
						next(t, called)
					case "Refused":
						s.inputs <- []socket.Report{{Peer: there, Err: net.UnknownNetworkError("refused")}}
					case "Stopped":
						require.NoError(t, c.Close())
					}
					next(t, c.Done())
					names := h.names()
					require.Equal(t, "Started", names[0])
					require.Equal(t, "Stopped", names[len(names)-1])
					require.NoError(t, c.Err())
					require.NoError(t, c.Close())
					require.NoError(t, c.Shutdown(t.Context()))
					require.NoError(t, c.Run(t.Context(), 0))
					require.ErrorIs(t, c.Send([]byte("x")), net.ErrClosed)
					balanced(t, c.Stats())
				})
			}
		}
	}
}

// ending is a recorder with ReadDone.
type ending struct {
	*recorder
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
		s := &scripted{inputs: make(chan any, 2), wake: make(chan struct{}, 1), gone: make(chan struct{})}
		for range 2 {
			b := buffer.Of(1)
			s.inputs <- []socket.Packet{{Data: b.B[:1], Buf: b, From: there}}
		}
		h := &locking{}
		c := s.listen(t, udp.Config{}, h)
		if i%16 == 0 {
			runtime.Gosched() // so that the reader is somewhere else each time
		}
		h.mu.Lock()
		switch i % 4 {
		case 0:
			c.Shutdown(done())
		case 1:
			c.Run(done(), 0)
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
		c, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", newWorkers(t, udp.WorkersConfig{N: 2, Handler: h}))
		require.NoError(t, err)
		for range 3 {
			require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
		}
		h.mu.Lock()
		c.Close()
		h.mu.Unlock()
		next(t, c.Done())
		balanced(t, c.Stats())
	}
}

// Close, Shutdown and Run from many goroutines at once all return.
//
// Twisted: S2
func TestShutdownAgainstClose(t *testing.T) {
	for range 50 {
		h := newRecorder()
		c := listen(t, udp.Config{}, "udp4", h)
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
		require.Equal(t, []string{"Started", "Stopped"}, h.names())
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
							h = newWorkers(t, udp.WorkersConfig{N: 2, Handler: h})
						}
						conns[i] = listen(t, udp.Config{}, "udp4", h)
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
						next(t, c.Done())
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
	sockets[0] = listen(t, udp.Config{}, "udp4", udp.HandlerFunc(received))
	sockets[1] = listen(t, udp.Config{}, "udp4", newWorkers(t, udp.WorkersConfig{N: 2, Handler: udp.HandlerFunc(received)}))
	close(ready)
	for _, c := range sockets {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	}
	next(t, conns)
	next(t, conns)
	next(t, sockets[0].Done())
	next(t, sockets[1].Done())
}

// A callback may wait until another socket has stopped.
func TestACallbackMayWaitForAnotherSocket(t *testing.T) {
	stopped := newRecorder()
	other := listen(t, udp.Config{}, "udp4", stopped)
	stopped.next(t, "Started")
	seen := make(chan []string, 1)
	c := listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		assert.NoError(t, other.Shutdown(context.Background()))
		seen <- stopped.names()
	}))
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	require.Equal(t, []string{"Stopped"}, next(t, seen))
}

// A worker may close a socket whose callback then gives those Workers a datagram.
func TestCloseByAWorkerThatTheSocketComesToNeed(t *testing.T) {
	for range 20 {
		var x *udp.Conn
		ready := make(chan struct{})
		w := newWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if string(d.Data) == "close" {
				<-ready
				assert.NoError(t, x.Close())
			}
		})})
		a := listen(t, udp.Config{}, "udp4", w)
		in := make(chan struct{})
		x = listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
			close(in)
			<-c.Closing()
			w.Received(c, d)
		}))
		close(ready)
		require.NoError(t, a.SendTo([]byte("hi"), x.LocalAddrPort()))
		next(t, in)
		require.NoError(t, a.SendTo([]byte("close"), a.LocalAddrPort()))
		next(t, x.Done())
		stop(t, a)
	}
}

// Closing ends a Handler that blocks.
func TestClosingReachesAHandlerThatBlocks(t *testing.T) {
	in := make(chan struct{})
	c := listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(c *udp.Conn, _ udp.Datagram) {
		close(in)
		<-c.Closing()
	}))
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	next(t, in)
	stop(t, c)
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
		c := listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
		result := run(c, t.Context(), 0)
		require.NoError(t, c.Close())
		require.NoError(t, next(t, result))
	})
	t.Run("the socket fails", func(t *testing.T) {
		s := newScripted()
		c := s.listen(t, udp.Config{}, udp.BaseHandler{})
		result := run(c, t.Context(), patience)
		s.inputs <- error(net.ErrClosed)
		err := next(t, result)
		requireOpError(t, err, "read")
		require.ErrorIs(t, err, net.ErrClosed)
		require.Equal(t, err, c.Err())
		require.Equal(t, err, c.Run(done(), patience), "also afterwards")
	})
	t.Run("its context ends", func(t *testing.T) {
		release, in := make(chan struct{}), make(chan struct{}, 10)
		c := listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { in <- struct{}{}; <-release }))
		ctx, cancel := context.WithCancel(t.Context())
		result := run(c, ctx, patience)
		for range 3 {
			require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
		}
		next(t, in)
		cancel()
		close(release)
		require.NoError(t, next(t, result))
		require.EqualValues(t, 3, c.Stats().Handled, "what was queued is handled")
		next(t, c.Done())
	})
	t.Run("grace is over", func(t *testing.T) {
		release, in := make(chan struct{}), make(chan struct{})
		c := listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { close(in); <-release }))
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
		next(t, in)
		err := c.Run(done(), time.Millisecond)
		requireOpError(t, err, "shutdown")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(release)
		next(t, c.Done())
	})
}
