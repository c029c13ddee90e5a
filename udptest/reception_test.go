package udptest_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// all is a host that hears a group, and the sender of it.
func all(t *testing.T) (n *udptest.Net, a, b *udptest.Host, m *udp.MulticastConn, send func(to string) []string) {
	n = udptest.NewNet(t, udptest.Config{})
	a, b = n.Host("a", "10.0.0.1/24"), n.Host("b", "10.0.0.2/24")
	q := udp.NewQueue(10, udp.Block)
	m, err := on(b).ListenMulticast(ctx, "udp4", ":7", q)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	cfg := on(a)
	cfg.Broadcast = true
	c := listen(t, cfg, "udp4", ":5", udp.BaseHandler{})
	return n, a, b, m, func(to string) []string {
		require.NoError(t, c.SendTo([]byte(to), netip.MustParseAddrPort(to)))
		settle()
		return texts(q)
	}
}

func TestAFilterIsAskedAboutEverybodysDatagramsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, m, send := all(t)
		require.NoError(t, m.Join(group))
		var asked []string
		action := udptest.Accept
		b.SetFilter(func(p udptest.Packet) udptest.Action {
			asked = append(asked, p.To.String())
			return action
		})
		tos := []string{"239.1.2.3:7", "10.0.0.255:7", "10.0.0.2:7"}
		for _, action = range []udptest.Action{udptest.Accept, udptest.Drop, udptest.Prohibit} {
			asked = nil
			for _, to := range tos {
				if got := send(to); action == udptest.Accept {
					require.Equal(t, []string{to}, got)
				} else {
					require.Empty(t, got)
				}
			}
			require.Equal(t, tos, asked)
		}
		require.Equal(t, uint64(1), a.In().Stats().Entered, "only what was for one is refused")
	})
}

func TestSourcesComeAndGoOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, b, m, send := all(t)
		eth0 := b.Interface("eth0").NetInterface()
		for _, source := range []string{"10.0.0.1", "10.0.0.8", "10.0.0.9"} {
			require.NoError(t, m.JoinSource(group, netip.MustParseAddr(source), eth0))
		}
		require.NoError(t, m.LeaveSource(group, netip.MustParseAddr("10.0.0.8"), eth0))
		require.Len(t, send("239.1.2.3:7"), 1)
		require.NoError(t, m.LeaveSource(group, netip.MustParseAddr("10.0.0.1"), eth0))
		require.Empty(t, send("239.1.2.3:7"), "one is still let in, and not this one")
		require.Zero(t, m.Stats().Dropped.Total(), "what others send does not reach the socket")
	})
}

func TestAnInterfaceThatIsDownReceivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, b, m, send := all(t)
		require.NoError(t, m.Join(group))
		eth0 := b.Interface("eth0")
		eth0.SetDown(true)
		for _, to := range []string{"239.1.2.3:7", "10.0.0.255:7"} {
			require.Empty(t, send(to))
		}
		require.Zero(t, b.In().Stats().Entered, "the link does not bring what nobody wants")
		require.Empty(t, send("10.0.0.2:7"))
		require.Contains(t, n.Trace(), "interface down")
		require.NotContains(t, n.Trace(), "received     10.0.0.1:5 > 10.0.0.2:7")
		eth0.SetDown(false)
		time.Sleep(time.Minute)
		require.Len(t, send("239.1.2.3:7"), 1)
		require.Len(t, send("10.0.0.2:7"), 1)
	})
}
