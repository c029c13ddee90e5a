package udptest_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// ticking counts a host's ticks in what it receives: the datagrams are sent at round
// times, as the ticker ticks.
func ticking(t *testing.T, tick time.Duration, f udptest.Faults) string {
	var out strings.Builder
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Seed: 1, Faults: f})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		var ticks atomic.Int64
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-ticker.C:
					ticks.Add(1)
				case <-stop:
					return
				}
			}
		}()
		answered := make(chan struct{}, 1)
		listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			fmt.Fprint(&out, ticks.Load(), " ")
			_ = d.Reply(nil)
		}))
		c := dial(t, on(a), "udp", "b:7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { answered <- struct{}{} }))
		for range 300 {
			require.NoError(t, c.Send(nil))
			<-answered
			if f.Latency > 0 {
				time.Sleep(tick)
			}
		}
	})
	return out.String()
}

// A timer and an arrival of one instant run in either order, which synctest draws:
// so no arrival comes at a round time.
func TestATickerNeverMeetsAnArrival(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	repeats := 10
	if testing.Short() {
		repeats = 2
	}
	for name, tt := range map[string]struct {
		tick   time.Duration
		faults udptest.Faults
	}{
		"two links are as long as a tick":    {100 * time.Millisecond, udptest.Faults{Latency: 50 * time.Millisecond}},
		"some microseconds":                  {250 * time.Microsecond, udptest.Faults{Latency: 125 * time.Microsecond}},
		"no latency, back and forth, 1, 3 …": {25 * time.Microsecond, udptest.Faults{}},
		"jitter":                             {10 * time.Microsecond, udptest.Faults{Jitter: time.Millisecond}},
	} {
		first := ticking(t, tt.tick, tt.faults)
		for range repeats {
			require.Equal(t, first, ticking(t, tt.tick, tt.faults), name)
		}
	}
}

// What the faults add is whole microseconds, and what two links take beside it is not.
func TestNothingArrivesAtAWholeMicrosecond(t *testing.T) {
	for name, f := range map[string]udptest.Faults{
		"jitter":            {Jitter: time.Millisecond},
		"duplicates":        {Jitter: 3 * time.Millisecond, Duplicate: 0.5},
		"a rate":            {Rate: 3e6, Queue: 1 << 20},
		"a bucket":          {Rate: 7e6, Depth: 3000},
		"nanoseconds":       {Latency: 999_999, Reorder: 0.5, ReorderBy: 500_999},
		"one after another": {Latency: 999, Jitter: 777_777, Ordered: true},
	} {
		got, _ := run(t, 1, f, 5000, 100, 300*time.Microsecond)
		require.NotEmpty(t, got)
		for _, a := range got {
			require.Zero(t, a.at%time.Microsecond, "%s: %v", name, a.at)
		}
	}
}

// A link is as fast as its rate says, and lets none overtake another, though it
// counts in microseconds.
func TestFastLinksKeepTheirRate(t *testing.T) {
	const size = 40 // 0.32 µs
	got, _ := run(t, 1, udptest.Faults{Rate: 1e9, Queue: 1 << 20}, 5000, size-28, 0)
	require.Equal(t, upTo(5000), numbers(got))
	require.InDelta(t, 1600*time.Microsecond, got[len(got)-1].at, float64(2*time.Microsecond))
}
