package udptest_test

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

var group = netip.MustParseAddr("239.1.2.3")

func TestMulticastReachesMembersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		sender := n.Host("sender", "10.0.0.1", "fd00::1")
		var queues []*udp.Queue
		for i, g := range []netip.Addr{group, group, netip.MustParseAddr("239.9.9.9"), netip.MustParseAddr("ff02::fb")} {
			h := n.Host(fmt.Sprint("h", i), fmt.Sprintf("10.0.0.1%d", i), fmt.Sprintf("fd00::1%d", i))
			q := udp.NewQueue(10, udp.Block)
			m, err := on(h).ListenMulticast(ctx, "udp", ":9", q, g)
			require.NoError(t, err)
			defer m.Close()
			queues = append(queues, q)
		}
		c := listen(t, on(sender), "udp", ":0", udp.BaseHandler{})
		require.NoError(t, c.SendTo([]byte("one"), netip.AddrPortFrom(group, 9)))
		require.NoError(t, c.SendTo([]byte("six"), netip.MustParseAddrPort("[ff02::fb]:9")))
		settle()
		d := <-queues[0].Datagrams()
		require.Equal(t, "one", string(d.Data))
		require.Equal(t, group, d.To().Addr())
		require.Equal(t, 2, d.IfIndex())
		require.Equal(t, "10.0.0.1", d.From.Addr().String())
		require.Equal(t, []string{"one"}, texts(queues[1]))
		require.Empty(t, texts(queues[2]))
		require.Equal(t, []string{"six"}, texts(queues[3]))
	})
}

func TestMulticastSourcesLoopbackAndTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		here, there := udp.NewQueue(10, udp.Block), udp.NewQueue(10, udp.Block)
		m, err := on(a).ListenMulticast(ctx, "udp4", ":9", here, group)
		require.NoError(t, err)
		defer m.Close()
		m2, err := on(b).ListenMulticast(ctx, "udp4", ":9", there)
		require.NoError(t, err)
		defer m2.Close()
		require.NoError(t, m2.JoinSource(group, netip.MustParseAddr("10.0.0.1")))
		send := func(c *udp.Conn, text string) {
			require.NoError(t, c.SendTo([]byte(text), netip.AddrPortFrom(group, 9)))
			settle()
		}
		send(m.Conn, "from a")
		require.Equal(t, []string{"from a"}, texts(here), "it loops back")
		require.Equal(t, []string{"from a"}, texts(there))
		send(m2.Conn, "from b")
		require.Equal(t, []string{"from b"}, texts(here))
		require.Empty(t, texts(there), "not its source")
		require.Equal(t, uint64(1), m2.Stats().Received, "and it did not even reach the socket")
		require.NoError(t, m.SetMulticastLoopback(false))
		send(m.Conn, "quiet")
		require.Empty(t, texts(here))
		require.Equal(t, []string{"quiet"}, texts(there))
		require.NoError(t, m.SetMulticastLoopback(true))
		require.NoError(t, m.SetMulticastTTL(0))
		send(m.Conn, "inside")
		require.Equal(t, []string{"inside"}, texts(here), "TTL 0 stays on the host")
		require.Empty(t, texts(there))
		require.NoError(t, m2.LeaveSource(group, netip.MustParseAddr("10.0.0.1")))
		require.NoError(t, m.SetMulticastTTL(1))
		send(m.Conn, "gone")
		require.Empty(t, texts(there))
		require.ErrorIs(t, m2.Leave(group), syscall.EADDRNOTAVAIL)
	})
}

func TestMembershipsGoWithTheirInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		b := n.Host("b", "10.0.0.2/24")
		wifi := b.Attach(n.Segment("wifi"), "wlan0", "10.9.0.2/24")
		q := udp.NewQueue(10, udp.Block)
		m, err := on(b).ListenMulticast(ctx, "udp4", ":9", q)
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, m.Join(group, wifi.NetInterface()))
		require.NoError(t, m.SetMulticastInterface(wifi.NetInterface()))

		// The next one gets the index of the one that is gone, and nothing else of it.
		index := wifi.NetInterface().Index
		wifi.Remove()
		require.ErrorIs(t, m.SendTo(nil, netip.AddrPortFrom(group, 9)), syscall.ENODEV)
		cable := n.Segment("cable")
		require.Equal(t, index, b.Attach(cable, "eth1", "10.8.0.2/24").NetInterface().Index)
		c := listen(t, on(cable.Host("c", "10.8.0.1/24")), "udp4", ":0", udp.BaseHandler{})
		require.NoError(t, c.SendTo([]byte("to another group of people"), netip.AddrPortFrom(group, 9)))
		settle()
		require.Empty(t, texts(q))
	})
}

func TestBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b, c := n.Host("a", "10.0.0.1/24"), n.Host("b", "10.0.0.2/24"), n.Host("c", "10.0.0.3/24")
		qs := make(map[string]*udp.Queue)
		for _, h := range []*udptest.Host{a, b, c} {
			qs[h.Name()] = udp.NewQueue(10, udp.Block)
			listen(t, on(h), "udp4", ":9", qs[h.Name()])
		}
		specific := udp.NewQueue(10, udp.Block)
		cfg := on(b)
		cfg.ReuseAddr = true
		listen(t, on(b), "udp4", "10.0.0.2:10", specific)
		cfg = on(a)
		cfg.Broadcast = true
		s := listen(t, cfg, "udp4", ":0", udp.BaseHandler{})
		for _, to := range []string{"255.255.255.255:9", "10.0.0.255:9", "10.0.0.255:10"} {
			require.NoError(t, s.SendTo([]byte(to), netip.MustParseAddrPort(to)))
		}
		settle()
		for _, q := range qs {
			require.Equal(t, []string{"255.255.255.255:9", "10.0.0.255:9"}, texts(q), "the sender's host too")
		}
		require.Empty(t, texts(specific), "bound to one address")
	})
}
