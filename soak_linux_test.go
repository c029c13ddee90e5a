package udp_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/netns"
)

// For an hour: go test -race -run TestSoak -soak 1h -timeout 2h .
var soakFor = flag.Duration("soak", 2*time.Second, "how long TestSoak takes")

// TestSoak lets everything happen at once in two namespaces with a cable: senders,
// slow consumers of every kind, peers that refuse, an interface that goes up and
// down, sockets that are opened and closed at random. In the end each socket's
// books balance, and no goroutine, descriptor or buffer is left. .ci/run calls it
// as "go test -race -run TestSoak -soak 60s .".
func TestSoak(t *testing.T) {
	netns.Run(t, func() {
		left, right := netns.New(t), netns.New(t)
		netns.Veth(t, left, "l0", right, "r0")
		left.Addr("l0", "192.0.2.1/24")
		right.Addr("r0", "192.0.2.2/24")
		// Hosts send only so many ICMP messages a second.
		right.Try("sh", "-c", "echo 0 > /proc/sys/net/ipv4/icmp_ratelimit")
		goroutines, fds, buffers := goleak.IgnoreCurrent(), descriptors(t), buffer.Live()

		s := &soak{t: t, stop: make(chan struct{}), servers: map[*udp.Conn]bool{}}
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() { s.serve(right, i) })
		}
		for i := range 3 {
			all.Go(func() { s.send(left, i) })
		}
		all.Go(func() { s.flap(right) })

		var early uint64
		end := time.After(*soakFor)
		select {
		case <-time.After(*soakFor / 4):
			early = heap()
		case <-end:
		}
		<-end
		// On a slow machine two seconds may be too short for anything to happen.
		require.Eventually(t, func() bool { return s.handled.Load() > 0 && s.sockets.Load() > 0 }, patience, time.Millisecond)
		late := heap()
		close(s.stop)
		all.Wait()
		require.Less(t, late, early+64<<20, "memory is flat")
		require.Equal(t, fds, descriptors(t), "no socket is left")
		require.Equal(t, buffers, buffer.Live(), "no buffer is left")
		goleak.VerifyNone(t, goroutines)
		t.Logf("%d sockets, %d datagrams handled, %d refused, %d flaps",
			s.sockets.Load(), s.handled.Load(), s.refused.Load(), s.flaps.Load())
	})
}

type soak struct {
	t       *testing.T
	stop    chan struct{}
	mu      sync.Mutex
	servers map[*udp.Conn]bool // those that are open

	handled, refused, sockets, flaps atomic.Int64
}

func (s *soak) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// rest waits a random time, up to d.
func (s *soak) rest(d time.Duration) {
	select {
	case <-time.After(rand.N(d)):
	case <-s.stop:
	}
}

// over ends a socket in one of three ways and checks its books.
func (s *soak) over(c *udp.Conn) {
	switch rand.N(3) {
	case 0:
		c.Close()
	case 1:
		if err := c.Shutdown(context.Background()); err != nil {
			s.t.Error(err)
		}
	case 2:
		ctx, cancel := context.WithTimeout(context.Background(), rand.N(5*time.Millisecond))
		c.Shutdown(ctx)
		cancel()
	}
	<-c.Done()
	balanced(s.t, c.Stats())
	s.sockets.Add(1)
	s.refused.Add(int64(c.Stats().Refused))
}

// serve opens and closes servers, each with another kind of slow consumer.
func (s *soak) serve(ns *netns.NS, n int) {
	for round := n; !s.stopped(); round++ {
		handle := func(d udp.Datagram) {
			if s.handled.Add(1)%100 == 0 {
				time.Sleep(time.Millisecond)
			}
			d.Reply(d.Data)
		}
		var h udp.Handler
		var consumer sync.WaitGroup
		policy := udp.Overflow(round % 3)
		switch round % 4 {
		case 0:
			h = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { handle(d) })
		case 1:
			w := udp.NewWorkers(3, nil, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { handle(d) }))
			w.Capacity, w.Overflow = 20, policy
			h = w
		case 2:
			h = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				if handle(d); rand.N(20) == 0 {
					panic("soaked")
				}
			})
		default:
			q := udp.NewQueue(100, policy)
			consumer.Go(func() {
				for d := range q.Datagrams() {
					handle(d)
					d.Release()
				}
			})
			h = q
		}
		var c *udp.Conn
		var err error
		ns.Do(func() { c, err = udp.Listen(context.Background(), "udp4", ":0", h) })
		if err != nil {
			s.t.Error(err)
			return
		}
		s.mu.Lock()
		s.servers[c] = true
		s.mu.Unlock()
		s.rest(200 * time.Millisecond)
		s.mu.Lock()
		delete(s.servers, c)
		s.mu.Unlock()
		s.over(c)
		consumer.Wait()
	}
}

// send sends to servers, connected and not, and to ports where nobody listens
// (any more).
func (s *soak) send(ns *netns.NS, n int) {
	for round := n; !s.stopped(); round++ {
		peer := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), 9)
		s.mu.Lock()
		for c := range s.servers {
			peer = netip.AddrPortFrom(peer.Addr(), c.LocalAddrPort().Port())
			break
		}
		s.mu.Unlock()
		q := udp.NewQueue(10, udp.DropOldest)
		var consumer sync.WaitGroup
		consumer.Go(func() {
			for d := range q.Datagrams() {
				d.Release()
			}
		})
		var c *udp.Conn
		var err error
		ns.Do(func() {
			c, err = udp.Listen(context.Background(), "udp4", ":0", q)
			if err == nil && round%2 == 0 {
				_, err = c.Connect(peer)
			}
		})
		if err != nil && c == nil {
			s.t.Error(err)
			return
		}
		if err == nil {
			ms := make([]udp.Message, 1+rand.N(60))
			for i := range ms {
				ms[i] = udp.Message{Data: make([]byte, 10+rand.N(3)), To: peer}
			}
			for until := time.Now().Add(rand.N(100 * time.Millisecond)); time.Now().Before(until) && !s.stopped(); {
				if _, err := c.SendBatch(ms); err != nil {
					if errors.Is(err, net.ErrClosed) || errors.Is(err, udp.ErrFamily) {
						s.t.Error(err)
					}
					s.rest(5 * time.Millisecond) // the cable is out
				}
			}
		}
		s.over(c)
		consumer.Wait()
	}
}

// flap pulls the cable out and puts it back.
func (s *soak) flap(ns *netns.NS) {
	for !s.stopped() {
		select {
		case <-time.After(700*time.Millisecond + rand.N(time.Second)):
		case <-s.stop:
		}
		ns.IP("link set r0 down")
		s.rest(50 * time.Millisecond)
		ns.IP("link set r0 up")
		ns.AwaitRunning("r0")
		s.flaps.Add(1)
	}
}

// descriptors counts the sockets of this process.
func descriptors(t *testing.T) (n int) {
	t.Helper()
	runtime.GC()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && len(to) > 7 && to[:7] == "socket:" {
			n++
		}
	}
	return n
}
