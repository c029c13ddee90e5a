package udptest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func TestTheLoopbackInterfaceHasTwoDirections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Faults: udptest.Faults{Loss: 1}})
		a := n.Host("a", "10.0.0.1")
		lo := a.Interface("lo")
		q := udp.NewQueue(10, udp.Block)
		listen(t, on(a), "udp", ":7", q)
		c := dial(t, on(a), "udp", "localhost:7", udp.BaseHandler{})
		send := func() []string {
			require.NoError(t, c.Send([]byte("x")))
			settle()
			return texts(q)
		}
		require.Equal(t, []string{"x"}, send(), "the faults of links are not for it")
		lo.In().Set(udptest.Faults{Loss: 1})
		require.Empty(t, send())
		lo.In().Set(udptest.Faults{Duplicate: 1})
		require.Equal(t, []string{"x", "x"}, send())
		require.Equal(t, uint64(3), lo.Out().Stats().Passed)
		require.Equal(t, uint64(3), lo.In().Stats().Entered)
		require.Equal(t, "a lo in", lo.In().String())
	})
}

func TestAPartitionIsSeenAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1/24"), n.Host("b", "10.0.0.2/24")
		q := udp.NewQueue(10, udp.Block)
		m, err := on(b).ListenMulticast(ctx, "udp4", ":7", q, group)
		require.NoError(t, err)
		defer m.Close()
		n.Partition([]*udptest.Host{a})
		var lost []string
		b.In().Tap(func(f udptest.Frame) { lost = append(lost, f.Lost) })
		cfg := on(a)
		cfg.Broadcast = true
		c := listen(t, cfg, "udp4", ":0", udp.BaseHandler{})
		for _, to := range []string{"10.0.0.2:7", "239.1.2.3:7", "10.0.0.255:7"} {
			require.NoError(t, c.SendTo(make([]byte, 10), netip.MustParseAddrPort(to)))
		}
		settle()
		require.Equal(t, []string{"partition", "partition", "partition"}, lost)
		require.Equal(t, udptest.PipeStats{Entered: 3, EnteredBytes: 3 * 38, Blocked: 3}, b.In().Stats())
		require.Empty(t, texts(q))
	})
}

func TestArrivalsAreTapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		listen(t, on(b), "udp", ":7", udp.BaseHandler{})
		began := time.Now()
		var got []string
		arrive := func(f udptest.Frame) {
			require.Equal(t, time.Now(), f.Time)
			got = append(got, fmt.Sprintf("%s %v %q", f.Pipe, f.Time.Sub(began).Truncate(time.Millisecond), f.IP[28:]))
		}
		a.Out().Set(udptest.Faults{Latency: time.Second, Duplicate: 1})
		path := n.Path(a, b)
		path.Set(udptest.Faults{Latency: time.Second, Script: udptest.DropNth(2)})
		stop := a.Out().TapArrivals(arrive)
		path.TapArrivals(arrive)
		b.In().TapArrivals(arrive)
		c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		require.NoError(t, c.Send([]byte("x")))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{`a eth0 out 1s "x"`, `a eth0 out 1s "x"`, `a -> b 2s "x"`, `b eth0 in 2s "x"`}, got)
		stop()
		require.NoError(t, c.Send([]byte("y")))
		b.Crash() // the link still brings it
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{`a -> b 1m2s "y"`, `b eth0 in 1m2s "y"`, `a -> b 1m2s "y"`, `b eth0 in 1m2s "y"`}, got[4:])
	})
}
