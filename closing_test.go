package udp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// Close from outside returns after the last callback has, whatever is going on.
//
// Twisted: P4 S1
func TestCloseWaitsForTheCallbackThatRuns(t *testing.T) {
	h := newRecorder()
	release := make(chan struct{})
	h.received = func(*udp.Conn, udp.Datagram) { <-release }
	c := listen(t, udp.Config{}, "udp4", h)
	h.next(t, "Started")
	for range 3 {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	}
	h.next(t, "Received")
	closed := make(chan error)
	for range 10 {
		go func() { closed <- c.Close() }()
	}
	// Sends fail from the moment on that Close has begun.
	for c.SendTo(nil, netip.MustParseAddrPort("127.0.0.1:9")) == nil {
		runtime.Gosched()
	}
	select {
	case <-closed:
		require.Fail(t, "Close did not wait")
	case <-c.Done():
		require.Fail(t, "done too early")
	default:
	}
	close(release)
	for range 10 {
		require.NoError(t, next(t, closed))
	}
	require.Equal(t, []string{"Stopped"}, h.names(), "what was queued is not handled any more")
	s := c.Stats()
	require.EqualValues(t, 1, s.Handled)
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

// Shutdown and Close from many goroutines at once all return.
//
// Twisted: S2
func TestShutdownAgainstClose(t *testing.T) {
	for range 50 {
		h := newRecorder()
		c := listen(t, udp.Config{}, "udp4", h)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if i%2 == 0 {
					assert.NoError(t, c.Close())
				} else {
					assert.NoError(t, c.Shutdown(context.Background()))
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
	others []*udp.Conn
	how    func(*udp.Conn) error
}

func (c *closer) Stopped(*udp.Conn, error) {
	for _, other := range c.others {
		_ = c.how(other)
	}
}

// Sockets whose callbacks end each other do not wait for each other, two of them
// or more in a ring, whoever begins.
func TestSocketsThatEndEachOther(t *testing.T) {
	for _, way := range []struct {
		name string
		end  func(*udp.Conn) error
	}{
		{"Close", (*udp.Conn).Close},
		{"Shutdown", func(c *udp.Conn) error { return c.Shutdown(context.Background()) }},
	} {
		for _, n := range []int{2, 3} {
			t.Run(fmt.Sprint(way.name, " of ", n), func(t *testing.T) {
				handlers := make([]*closer, n)
				conns := make([]*udp.Conn, n)
				for i := range n {
					handlers[i] = &closer{how: way.end}
					conns[i] = listen(t, udp.Config{}, "udp4", handlers[i])
				}
				for i, h := range handlers {
					h.others = []*udp.Conn{conns[(i+1)%n]}
				}
				var all sync.WaitGroup
				for _, c := range conns {
					all.Go(func() { assert.NoError(t, way.end(c)) })
				}
				all.Wait()
				for _, c := range conns {
					<-c.Done()
				}
			})
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
	sockets[1] = listen(t, udp.Config{}, "udp4", udp.NewWorkers(2, nil, udp.HandlerFunc(received)))
	close(ready)
	for _, c := range sockets {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	}
	next(t, conns)
	next(t, conns)
	<-sockets[0].Done()
	<-sockets[1].Done()
}

// A callback that closes another socket which does not wait for it waits for that
// one's last callback, as everybody does.
func TestCloseFromAnotherSocketsCallbackWaits(t *testing.T) {
	stopped := newRecorder()
	other := listen(t, udp.Config{}, "udp4", stopped)
	stopped.next(t, "Started")
	seen := make(chan []string, 1)
	c := listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		assert.NoError(t, other.Close())
		seen <- stopped.names()
	}))
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	require.Equal(t, []string{"Stopped"}, next(t, seen))
}

// A worker that closes a socket whose callback then gives those Workers its first
// datagram does not wait for what it has to handle itself.
func TestCloseByAWorkerThatTheSocketComesToNeed(t *testing.T) {
	for range 20 {
		var x *udp.Conn
		ready := make(chan struct{})
		w := udp.NewWorkers(1, nil, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if string(d.Data) == "close" {
				<-ready
				assert.NoError(t, x.Close())
			}
		}))
		a := listen(t, udp.Config{}, "udp4", w)
		in := make(chan struct{})
		x = listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
			close(in)
			for c.SendTo(nil, c.LocalAddrPort()) == nil { // until Close has begun
				runtime.Gosched()
			}
			w.Received(c, d)
		}))
		close(ready)
		require.NoError(t, a.SendTo([]byte("hi"), x.LocalAddrPort()))
		<-in
		require.NoError(t, a.SendTo([]byte("close"), a.LocalAddrPort()))
		<-x.Done()
		require.NoError(t, x.Close())
		require.NoError(t, a.Close())
	}
}
