package udptest_test

import (
	"math"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// slow is a host that sends a datagram of 972 bytes a second, and has room for five
// of them.
func slow(t *testing.T) (n *udptest.Net, a *udptest.Host, c *udp.ConnectedConn, q *udp.Queue) {
	n = udptest.NewNet(t, udptest.Config{})
	a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
	q = udp.NewQueue(100, udp.Block)
	listen(t, on(b), "udp", ":7", q)
	cfg := on(a)
	cfg.WriteBuffer = 4000 // 8000 with what the kernel takes for itself
	c = dial(t, cfg, "udp", "b:7", udp.BaseHandler{})
	a.Out().Set(udptest.Faults{Rate: 8000}) // 1000 bytes a second
	return n, a, c, q
}

func TestSendsWaitForRoomUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, c, _ := slow(t)
		began := time.Now()
		for range 10 {
			require.NoError(t, c.Send(make([]byte, 972)))
		}
		require.Equal(t, 5*time.Second, time.Since(began), "five found room at once")
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Millisecond)))
		require.ErrorIs(t, c.Send(make([]byte, 972)), os.ErrDeadlineExceeded)
		require.Equal(t, 5001*time.Millisecond, time.Since(began))
		require.NoError(t, c.SetWriteDeadline(time.Time{}))
		done := make(chan error, 1)
		go func() { done <- c.Send(make([]byte, 972)) }()
		synctest.Wait()
		require.NoError(t, c.Close(), "which ends the wait")
		require.ErrorContains(t, <-done, "closed")
		require.Equal(t, 5001*time.Millisecond, time.Since(began))
	})
}

func TestWhatTheLinkHasDroppedTakesNoRoom(t *testing.T) {
	for name, f := range map[string]udptest.Faults{
		"no room in the queue": {Rate: 8000, Queue: 3000},
		"lost":                 {Rate: 8000, Script: func(i int, _ udptest.Packet) bool { return i > 1 }},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, a, c, _ := slow(t)
			a.Out().Set(f)
			began := time.Now()
			for range 400 {
				require.NoError(t, c.Send(make([]byte, 972)), name)
			}
			require.Zero(t, time.Since(began), name)
		})
	}
}

// sends in another goroutine until n datagrams have found room, and says when.
func sends(c *udp.ConnectedConn, n int) <-chan time.Duration {
	done, began := make(chan time.Duration, 1), time.Now()
	go func() {
		for range n {
			_ = c.Send(make([]byte, 972))
		}
		done <- time.Since(began)
	}()
	return done
}

func TestASenderThatWaitsHearsWhatChanges(t *testing.T) {
	const change = 300 * time.Millisecond
	for name, f := range map[string]func(a *udptest.Host){
		"the rate is lifted":      func(a *udptest.Host) { a.Out().Set(udptest.Faults{}) },
		"the host crashes":        func(a *udptest.Host) { a.Crash() },
		"the interface goes down": func(a *udptest.Host) { a.Interface("eth0").SetDown(true) },
		"the interface goes":      func(a *udptest.Host) { a.Interface("eth0").Remove() },
	} {
		synctest.Test(t, func(t *testing.T) {
			_, a, c, _ := slow(t)
			time.AfterFunc(change, func() { f(a) })
			require.Equal(t, change, <-sends(c, 6), name)
		})
	}
}

func TestACrashTakesWhatWaitsToLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, c, q := slow(t)
		require.Less(t, <-sends(c, 5), time.Millisecond)
		time.Sleep(2500 * time.Millisecond) // the third is half out
		a.Crash()
		a.Restart()
		again := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		require.NoError(t, again.Send([]byte("there is no queue any more")))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		got := texts(q)
		require.Len(t, got, 3)
		require.Equal(t, "there is no queue any more", got[2])
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, texts(q))
		require.Contains(t, n.Trace(), "a eth0 out       gone")
	})
}

func TestWhatHasLeftArrivesAlsoWhenItsHostCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, c, q := slow(t)
		a.Out().Set(udptest.Faults{Rate: 8000, Latency: time.Minute})
		require.NoError(t, c.Send(make([]byte, 972)))
		time.Sleep(2 * time.Second)
		a.Crash()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, texts(q), 1)
	})
}

func TestSizesWithoutALimit(t *testing.T) {
	got, stats := run(t, 1, udptest.Faults{Rate: 8000, Queue: math.MaxInt}, 5, 972, 0)
	require.Equal(t, upTo(5), numbers(got))
	require.Zero(t, stats.Overflowed)
	require.Equal(t, 5*time.Second, got[4].at.Truncate(time.Millisecond))
	got, _ = run(t, 1, udptest.Faults{Rate: 1, Depth: math.MaxInt, Queue: 1}, 5, 972, 0)
	require.Equal(t, upTo(5), numbers(got))
	require.Zero(t, got[4].at.Truncate(time.Millisecond))
}

// For the race detector.
func TestStatsMayBeAskedWhileASocketCloses(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{})
	a := n.Host("a", "10.0.0.1")
	eth0 := a.Interface("eth0")
	for range 20 {
		c := dial(t, on(a), "udp", "10.0.0.1:9", udp.BaseHandler{})
		var together sync.WaitGroup
		together.Go(func() { c.Stats() })
		together.Go(func() { c.Close() })
		together.Go(a.Crash)
		together.Go(func() { eth0.Rename("eth1"); eth0.Rename("eth0") })
		together.Go(func() { _ = eth0.Name() })
		together.Wait()
		a.Restart()
	}
}

func TestASendThatWaitsIsOneSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, c, _ := slow(t)
		for range 5 {
			require.NoError(t, c.Send(make([]byte, 972)))
		}
		for nth := 2; nth < 6; nth++ {
			a.FailSend(0, nth, syscall.EPERM)
		}
		time.AfterFunc(100*time.Millisecond, func() { a.Interface("eth0").Rename("eth1") }) // it looks again
		require.NoError(t, c.Send(make([]byte, 972)))
		require.Zero(t, c.Stats().Retried)
	})
}

// As on Linux, also to an address of the host itself.
func TestNothingIsSentOnAnInterfaceThatDoesNotExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a := n.Host("a", "10.0.0.1", "fd00::1")
		n.Host("b", "10.0.0.2", "fd00::2")
		c := listen(t, on(a), "udp", ":0", udp.BaseHandler{})
		for _, to := range []string{"10.0.0.1:9", "10.0.0.2:9", "[fd00::2]:9", "127.0.0.1:9", "224.0.0.9:9", "198.51.100.1:9"} {
			_, err := c.SendBatch([]udp.Message{{To: netip.MustParseAddrPort(to), IfIndex: 99}})
			require.ErrorIs(t, err, syscall.ENODEV, to)
		}
		require.Zero(t, c.Stats().Sent)
	})
}
