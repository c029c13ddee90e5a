package udptest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// The figures are those of the presets' comments.
func TestPresetsAreWhatTheySay(t *testing.T) {
	for name, tt := range map[string]struct {
		faults      udptest.Faults
		loss        float64
		least, most time.Duration
	}{
		"LAN":       {udptest.LAN(), 0, 100 * time.Microsecond, 160 * time.Microsecond},
		"DSL":       {udptest.DSL(), 0.0005, 8 * time.Millisecond, 11 * time.Millisecond},
		"WiFi":      {udptest.WiFi(), 0.01, 2 * time.Millisecond, 11 * time.Millisecond},
		"LTE":       {udptest.LTE(), 0.001, 25 * time.Millisecond, 41 * time.Millisecond},
		"Satellite": {udptest.Satellite(), 0.005, 270 * time.Millisecond, 282 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := udptest.NewNet(t, udptest.Config{Seed: 1, Trace: -1})
				a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
				a.SetLink(tt.faults)
				require.Equal(t, a.Out().Faults(), a.In().Faults())
				require.Equal(t, tt.faults.String(), a.Out().Faults().String())
				const count = 1000
				var sent time.Time
				got, least, most := 0, time.Hour, time.Duration(0)
				listen(t, b.Config(), "udp", ":7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
					took := time.Since(sent)
					got, least, most = got+1, min(least, took), max(most, took)
				}))
				c := dial(t, a.Config(), "udp", "b:7", udp.BaseHandler{})
				for range count {
					sent = time.Now()
					require.NoError(t, c.Send(make([]byte, 100)))
					n.Settle()
				}
				f := tt.faults
				lost := f.Loss
				if f.Burst.Begin > 0 {
					lost += f.Burst.Bad * f.Burst.Begin / (f.Burst.Begin + f.Burst.End)
				}
				require.InDelta(t, tt.loss, lost, 0.03*tt.loss)
				require.Greater(t, got, count/2)
				require.GreaterOrEqual(t, least, tt.least)
				require.LessOrEqual(t, most, tt.most)
			})
		})
	}
}

func TestSetPathSetsBothDirections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b, other := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2"), n.Host("other", "10.0.0.3")
		n.SetPath(a, b, udptest.Faults{Latency: time.Second})
		for _, h := range []*udptest.Host{b, other} {
			listen(t, h.Config(), "udp", ":7", echo)
		}
		for to, want := range map[string]time.Duration{"b:7": 2*time.Second + 2*link, "other:7": 2 * link} {
			got := make(chan time.Time, 1)
			c := dial(t, a.Config(), "udp", to, udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got <- time.Now() }))
			began := time.Now()
			require.NoError(t, c.Send(nil))
			require.Equal(t, want, (<-got).Sub(began), to)
		}
	})
}
