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

// ticking counts a host's ticks in what it receives: the datagrams are sent and
// delayed by round times, as the ticker is.
func ticking(t *testing.T, tick, latency time.Duration) string {
	var out strings.Builder
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t, Seed: 1, Faults: udptest.Faults{Latency: latency}})
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
			if latency > 0 {
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
	for name, args := range map[string][2]time.Duration{
		"latency":                        {100 * time.Millisecond, 50 * time.Millisecond},
		"no latency, back and forth":     {100 * time.Microsecond, 0},
		"a latency of some microseconds": {time.Millisecond, 125 * time.Microsecond},
	} {
		first := ticking(t, args[0], args[1])
		for range 10 {
			require.Equal(t, first, ticking(t, args[0], args[1]), name)
		}
	}
}
