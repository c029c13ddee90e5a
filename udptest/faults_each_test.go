package udptest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func TestEachPartOfABurst(t *testing.T) {
	for name, tt := range map[string]struct {
		burst udptest.Burst
		want  []int
	}{
		"good links lose too":          {udptest.Burst{Good: 1}, nil},
		"bad ones may lose nothing":    {udptest.Burst{Begin: 1, Good: 1}, upTo(6)},
		"it begins and ends each time": {udptest.Burst{Begin: 1, End: 1, Bad: 1}, []int{2, 4, 6}},
		"it never ends":                {udptest.Burst{Begin: 1, Bad: 1}, nil},
	} {
		got, _ := run(t, 1, udptest.Faults{Burst: tt.burst}, 6, 4, time.Millisecond)
		require.Equal(t, tt.want, numbers(got), name)
	}
}

func TestTheSeedChoosesThePlacesOfExactLoss(t *testing.T) {
	f := udptest.Faults{Exact: udptest.Exact{Lost: 5, Of: 50}}
	first, _ := run(t, 1, f, 50, 4, time.Millisecond)
	again, _ := run(t, 1, f, 50, 4, time.Millisecond)
	other, _ := run(t, 2, f, 50, 4, time.Millisecond)
	require.Equal(t, numbers(first), numbers(again))
	require.NotEqual(t, numbers(first), numbers(other))
}

func TestADuplicateHasItsOwnJitter(t *testing.T) {
	got, _ := run(t, 1, udptest.Faults{Duplicate: 1, Jitter: time.Second}, 100, 4, time.Minute)
	require.Len(t, got, 200)
	apart := 0
	for i := 0; i < len(got); i += 2 {
		require.Equal(t, got[i].number, got[i+1].number)
		if got[i].at != got[i+1].at {
			apart++
		}
	}
	require.Equal(t, 100, apart)
}

// pair is a link, its sender, and what arrives.
func pair(t *testing.T, cfg udptest.Config) (n *udptest.Net, a, b *udptest.Host, send func(count int) int) {
	n = udptest.NewNet(t, cfg)
	a, b = n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
	got := 0
	listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got++ }))
	big := on(a)
	big.WriteBuffer = 1 << 24
	c := dial(t, big, "udp", "b:7", udp.BaseHandler{})
	return n, a, b, func(count int) int {
		got = 0
		for range count {
			require.NoError(t, c.Send(make([]byte, 972)))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		return got
	}
}

func TestSetStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _, send := pair(t, udptest.Config{})
		for range 2 {
			a.Out().Set(udptest.Faults{Script: udptest.DropNth(1)})
			require.Equal(t, 2, send(3), "the script")
		}
		a.Out().Set(udptest.Faults{Burst: udptest.Burst{Begin: 1, Bad: 1}})
		require.Equal(t, 0, send(3))
		a.Out().Set(udptest.Faults{Burst: udptest.Burst{Begin: 1e-300, Bad: 1}})
		require.Equal(t, 3, send(3), "the link is good again")
		a.Out().Set(udptest.Faults{Exact: udptest.Exact{Lost: 1, Of: 4}})
		send(1)
		a.Out().Set(udptest.Faults{Exact: udptest.Exact{Lost: 3, Of: 3}})
		require.Equal(t, 0, send(3), "a block begins")
	})
	for name, f := range map[string]udptest.Faults{
		"the bucket": {Rate: 8000}, "the order": {Rate: 8000, Jitter: 1, Ordered: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.NewNet(t, udptest.Config{})
			a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
			began := time.Now()
			var at []time.Duration
			listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
				at = append(at, time.Since(began).Truncate(time.Millisecond))
			}))
			c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
			for range 2 {
				a.Out().Set(f)
				for range 2 {
					require.NoError(t, c.Send(make([]byte, 972)))
				}
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Equal(t, []time.Duration{time.Second, time.Second, 2 * time.Second, 2 * time.Second}, at, name)
		})
	}
}

func TestTheQueueOfALinkWithoutOneOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _, send := pair(t, udptest.Config{Trace: -1})
		cfg := udptest.Faults{Rate: 8000}
		a.Out().Set(cfg)
		require.Equal(t, 256<<10/1000, send(300))
		require.Equal(t, uint64(300-256<<10/1000), a.Out().Stats().Overflowed)
	})
}

func TestATickRoundsArrivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Tick: 10 * time.Millisecond})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		a.Out().Set(udptest.Faults{Jitter: time.Second})
		began := time.Now()
		ats := make(map[time.Duration]bool)
		listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { ats[time.Since(began)] = true }))
		c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		for range 1000 {
			require.NoError(t, c.Send(nil))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, ats, 100)
		for at := range ats {
			require.Zero(t, at%(10*time.Millisecond))
		}
	})
}

func TestFaultsOfEveryLinkAreNotThoseOfPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b, send := pair(t, udptest.Config{Faults: udptest.Faults{Exact: udptest.Exact{Lost: 1, Of: 2}}})
		a.Out().Set(udptest.Faults{})
		b.In().Set(udptest.Faults{})
		require.Empty(t, n.Path(a, b).Faults().String())
		require.Equal(t, 10, send(10))
		require.Equal(t, uint64(10), n.Path(a, b).Stats().Passed)
	})
}

func TestWhatIsTooBigIsReportedEachTimeAndByWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1", "fd00::1"), n.Host("b", "10.0.0.2", "fd00::2")
		b.In().Set(udptest.Faults{MTU: 1300})
		var frames [][]byte
		b.Out().Tap(func(f udptest.Frame) { frames = append(frames, f.IP) })
		for _, to := range []string{"10.0.0.2:9", "[fd00::2]:9"} {
			q := udp.NewQueue(100, udp.Block)
			c := dial(t, on(a), "udp", to, q)
			const times = 10 // more than of other messages at once
			for range times {
				require.NoError(t, c.Send(make([]byte, 1400)))
			}
			settle()
			require.Len(t, q.Refusals(), times)
			r := <-q.Refusals()
			require.Equal(t, c.RemoteAddrPort().Addr(), r.Offender)
			require.Equal(t, 1300, r.MTU)
		}
		require.Len(t, frames, 20)
		icmp4, icmp6 := frames[0][20:], frames[10][40:]
		require.Equal(t, []byte{3, 4}, icmp4[:2])
		require.Equal(t, []byte{0, 0, 1300 >> 8, 1300 & 255}, icmp4[4:8], "RFC 1191, section 4")
		require.Equal(t, []byte{2, 0}, icmp6[:2])
		require.Equal(t, []byte{0, 0, 1300 >> 8, 1300 & 255}, icmp6[4:8], "RFC 4443, section 3.2")
	})
}

func TestACrashForgetsWhatTheHostHasLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		b.In().Set(udptest.Faults{MTU: 1000})
		cfg := on(a)
		cfg.MTUDiscovery = udp.MTUDiscoveryDo
		c := dial(t, cfg, "udp", "10.0.0.2:9", udp.BaseHandler{})
		require.NoError(t, c.Send(make([]byte, 1200)))
		settle()
		require.ErrorIs(t, c.Send(make([]byte, 1200)), udp.ErrTooLarge)
		a.Crash()
		a.Restart()
		b.In().Set(udptest.Faults{})
		c = dial(t, cfg, "udp", "10.0.0.2:9", udp.BaseHandler{})
		require.NoError(t, c.Send(make([]byte, 1200)), "the MTU")
		for range 2 {
			before := c.Stats().Refused
			for range 100 {
				require.NoError(t, c.Send(nil))
			}
			settle()
			require.Equal(t, uint64(6), c.Stats().Refused-before, "the limit of ICMP messages")
			b.Crash()
			b.Restart()
		}

		// That it was looking for somebody, too: it looks again, for three seconds.
		send := func() time.Duration {
			q := udp.NewQueue(1, udp.Block)
			began := time.Now()
			require.NoError(t, dial(t, on(a), "udp", "10.0.0.9:7", q).Send(nil))
			<-q.Refusals()
			return time.Since(began).Truncate(time.Second)
		}
		require.NoError(t, dial(t, on(a), "udp", "10.0.0.9:7", udp.BaseHandler{}).Send(nil))
		time.Sleep(time.Second)
		a.Crash()
		a.Restart()
		time.Sleep(time.Minute)
		require.Equal(t, 3*time.Second, send())
	})
}
