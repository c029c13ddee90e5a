package faults_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// For an hour: go test ./internal/e2e/faults -race -run TestSoak -timeout 2h -soak 1h.
var soakFor = flag.Duration("soak", 2*time.Second, "how long TestSoak takes")

// TestSoak lets everything happen at once, in both families, in two namespaces with a cable:
//
//   - single and concurrent senders on one socket, slow consumers of every kind, for one socket
//     and for many, peers where nobody listens, multicast groups;
//   - sockets that are opened and closed at random, or destroyed from outside (SOCK_DESTROY);
//   - an interface that goes down and up, and a device that is removed and created again;
//   - from halfway on, a kernel that rejects batched calls.
//
// At the end the counters of each socket agree, all datagrams sent were received or counted as
// dropped, where that can be compared, and no goroutine, descriptor or buffer is left. .ci/run
// runs it for half a minute.
func TestSoak(t *testing.T) {
	netns.Isolated(t, func() { // a process of its own, whose calls are rejected
		left, right := netns.New(t), netns.New(t)
		netns.Veth(t, left, "l0", right, "r0")
		// By default hosts limit their ICMP messages, and IPv6 addresses are removed when the
		// cable is unplugged.
		for _, set := range []string{"ipv4/icmp_ratelimit=0", "ipv6/icmp/ratelimit=0",
			"ipv6/conf/r0/keep_addr_on_down=1", "ipv6/conf/r0/accept_dad=0"} {
			name, value, _ := strings.Cut(set, "=")
			right.Try("sh", "-c", "echo "+value+" > /proc/sys/net/"+name)
		}
		left.Addr("l0", "192.0.2.1/24")
		right.Addr("r0", "192.0.2.2/24")
		networks := sockettest.Networks(t)
		if len(networks) > 1 {
			left.Addr("l0", "2001:db8::1/64")
			right.Addr("r0", "2001:db8::2/64")
		}
		goroutines, fds, buffers := goleak.IgnoreCurrent(), sockettest.Descriptors(t), buffer.Live()

		s := &soak{t: t, networks: networks, stop: make(chan struct{}), servers: map[*udp.Conn]bool{}}
		end := s.share(right)
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() { s.serve(right, i) })
			all.Go(func() { s.send(left, i) })
		}
		all.Go(func() { s.pairs(right) })
		all.Go(func() { s.groups(left, right) })
		all.Go(func() { s.flap(right) })
		all.Go(func() { s.destroy(left, right) })
		all.Go(func() { s.recreate(left, right) })

		heaps := s.watch(*soakFor / 2)
		s.rejectBatches()
		heaps = append(heaps, s.watch(*soakFor/2)...)
		// On a slow machine two seconds may be too short for anything to happen.
		for _, n := range []*atomic.Int64{&s.handled, &s.shared, &s.heard, &s.refused, &s.pairsEqual, &s.sockets, &s.flaps, &s.recreated} {
			require.Eventually(t, func() bool { return n.Load() > 0 }, sockettest.Patience, time.Millisecond)
		}
		close(s.stop)
		all.Wait()
		end()
		t.Logf("%d sockets, %d datagrams handled, %d by those of several sockets, %d of groups, %d refused, %d pairs, %d flaps, %d rebinds, %d devices; heap %d to %d MiB",
			s.sockets.Load(), s.handled.Load(), s.shared.Load(), s.heard.Load(), s.refused.Load(), s.pairsEqual.Load(), s.flaps.Load(), s.rebinds.Load(), s.recreated.Load(), slices.Min(heaps), slices.Max(heaps))
		third, few := len(heaps)/3, 8
		if third < 30 {
			few = 32 // sockets in use: a few samples may all come from a busy moment
		}
		if third >= 20 { // in seconds, other tests and the garbage collector matter more
			require.LessOrEqual(t, slices.Min(heaps[2*third:]), slices.Min(heaps[:third])+few, "memory is flat, MiB: %v", heaps)
		}
		require.Equal(t, fds, sockettest.Descriptors(t), "no socket is left")
		require.Equal(t, buffers, buffer.Live(), "no buffer is left")
		goleak.VerifyNone(t, goroutines)
	})
}

// heap returns how many bytes are in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // it takes two to empty a pool
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// watch samples the size of the heap, in MiB after a collection, for that long.
func (s *soak) watch(d time.Duration) (heaps []int) {
	n := max(15, min(int(d/(500*time.Millisecond)), 1000))
	tick := time.NewTicker(d / time.Duration(n))
	defer tick.Stop()
	for range n {
		<-tick.C
		heaps = append(heaps, int(heap()>>20))
	}
	return heaps
}

type soak struct {
	t        *testing.T
	networks []string
	stop     chan struct{}
	queue    *udp.Queue   // of several sockets
	workers  *udp.Workers // likewise

	mu      sync.Mutex
	servers map[*udp.Conn]bool // those that are open

	handled, shared, heard, refused, sockets, pairsEqual, flaps, rebinds, recreated atomic.Int64
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

// over ends a socket in one of three ways and checks its counters.
func (s *soak) over(c *udp.Conn) {
	switch rand.N(3) {
	case 0:
		c.Close()
	case 1:
		if err := c.Shutdown(context.Background()); err != nil && !aborted(err) {
			s.t.Error(err)
		}
	case 2:
		ctx, cancel := context.WithTimeout(context.Background(), rand.N(5*time.Millisecond))
		c.Shutdown(ctx)
		cancel()
	}
	<-c.Done()
	sockettest.CountersAgree(s.t, c.Stats())
	s.sockets.Add(1)
	s.refused.Add(int64(c.Stats().Refused))
	s.rebinds.Add(int64(c.Stats().Rebinds))
	if err := c.Err(); err != nil && !aborted(err) {
		s.t.Error(err)
	}
}

// aborted reports whether err is that of a socket that was destroyed while there was no
// way to its peer, so that it could not be restored.
func aborted(err error) bool { return errors.Is(err, unix.ECONNABORTED) }
