package udptest_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func TestAnInterfaceSendsNoMoreThanItsMTU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		longest := 0
		listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { longest = max(longest, len(d.Data)) }))
		cfg := on(a)
		cfg.MTUDiscovery = udp.MTUDiscoveryDo
		c := dial(t, cfg, "udp", "b:7", udp.BaseHandler{})
		for _, mtu := range []int{1500, 1420, 9000} {
			a.Interface("eth0").SetMTU(mtu)
			b.Interface("eth0").SetMTU(mtu)
			require.Equal(t, mtu, a.Interface("eth0").NetInterface().MTU)
			longest = 0
			require.NoError(t, c.Send(make([]byte, mtu-28)))
			require.ErrorIs(t, c.Send(make([]byte, mtu-27)), udp.ErrTooLarge)
			n.Settle()
			require.Equal(t, mtu-28, longest)
		}
		require.NoError(t, dial(t, on(a), "udp", "b:7", udp.BaseHandler{}).Send(make([]byte, 20000)))
		n.Settle()
		require.Equal(t, 20000, longest, "in fragments")
	})
}

// A frame longer than the receiver's MTU is lost, and nobody gets an error.
func TestAnInterfaceReceivesNoMoreThanItsMTU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		a.Interface("eth0").SetMTU(9000)
		got := 0
		listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got++ }))
		c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		require.NoError(t, c.Send(make([]byte, 1500-28)))
		require.NoError(t, c.Send(make([]byte, 1501-28)))
		n.Settle()
		require.Equal(t, 1, got)
		require.Zero(t, c.Stats().Refused)
		require.Equal(t, uint64(1), b.In().Stats().TooBig)
	})
}

// The second link of the way is a tunnel, and the sender learns its MTU.
func TestARouterRefusesWhatItsNextInterfaceCannotSend(t *testing.T) {
	for name, addr := range map[string]struct{ a, r0, r1, b string }{
		"IPv4": {"10.0.0.1/24", "10.0.0.254/24", "10.9.0.254/24", "10.9.0.1/24"},
		"IPv6": {"fd00::1/64", "fd00::ff/64", "fd09::ff/64", "fd09::1/64"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := udptest.NewNet(t, udptest.Config{})
				lan, far := n.Segment("lan"), n.Segment("far")
				r := n.Router("r")
				r.Attach(lan, "eth0", addr.r0)
				r.Attach(far, "eth1", addr.r1).SetMTU(1420)
				a, b := lan.Host("a", addr.a), far.Host("b", addr.b)
				a.SetGateway(r.Interface("eth0").Addrs()[0].Addr().String())
				b.SetGateway(r.Interface("eth1").Addrs()[0].Addr().String())
				got := 0
				listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got++ }))
				q := udp.NewQueue(9, udp.Block)
				c := dial(t, on(a), "udp", "b:7", q)
				require.NoError(t, c.Send(make([]byte, 1400)))
				refusal := <-q.Refusals()
				require.Equal(t, 1420, refusal.MTU)
				require.ErrorContains(t, refusal, "message too long")
				require.NoError(t, c.Send(make([]byte, 1400)), "in fragments now")
				n.Settle()
				require.Equal(t, 1, got)
			})
		})
	}
}
