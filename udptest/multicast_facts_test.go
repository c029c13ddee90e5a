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

// Linux drops what is for a group of the interface before any other than lo
// (ip6_finish_output2), whatever its TTL, and loops it as it does others.
func TestGroupsOfTheInterfaceStayOnTheirHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "fd00::1/64"), n.Host("b", "fd00::2/64")
		g := netip.MustParseAddr("ff01::1:1")
		here, there := udp.NewQueue(10, udp.Block), udp.NewQueue(10, udp.Block)
		m, err := on(a).ListenMulticast(ctx, "udp6", ":9", here, g)
		require.NoError(t, err)
		defer m.Close()
		other, err := on(b).ListenMulticast(ctx, "udp6", ":9", there, g)
		require.NoError(t, err)
		defer other.Close()
		require.NoError(t, m.SetMulticastTTL(5))
		require.NoError(t, m.SendTo([]byte("x"), netip.AddrPortFrom(g, 9)))
		settle()
		require.Equal(t, []string{"x"}, texts(here))
		require.Empty(t, texts(there))
		require.Zero(t, a.Out().Stats().Entered)
	})
}

// A connected socket has one local address (inet_rcv_saddr), and hears what is for
// that only. One that is bound to a group has the group's, and hears its peer.
func TestConnectedMembersOfGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		peer, unexpected := listen(t, on(a), "udp4", "10.0.0.1:5", udp.BaseHandler{}), listen(t, on(a), "udp4", "10.0.0.1:6", udp.BaseHandler{})
		for address, want := range map[string][]string{":9": nil, "239.1.2.3:9": {"peer"}} {
			q := udp.NewQueue(10, udp.Block)
			m, err := on(b).ListenMulticast(ctx, "udp4", address, q, group)
			require.NoError(t, err)
			_, err = m.Connect(netip.MustParseAddrPort("10.0.0.1:5"))
			require.NoError(t, err)
			require.NoError(t, unexpected.SendTo([]byte("unexpected"), netip.AddrPortFrom(group, 9)))
			require.NoError(t, peer.SendTo([]byte("peer"), netip.AddrPortFrom(group, 9)))
			settle()
			require.Equal(t, want, texts(q), address)
			require.Zero(t, m.Stats().Dropped.Total(), "that of another peer does not reach the socket")
			closed(t, m)
		}
	})
}

func TestGroupsOfIPv4AreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a := n.Host("a", "10.0.0.1", "fd00::1")
		eth0 := a.Interface("eth0").NetInterface()
		m, err := on(a).ListenMulticast(ctx, "udp", ":9", udp.BaseHandler{})
		require.NoError(t, err)
		defer m.Close()
		for i := range 25 {
			require.NoError(t, m.Join(netip.MustParseAddr(fmt.Sprintf("ff02::1:%d", i+1)), eth0))
		}
		for i := range 20 { // net.ipv4.igmp_max_memberships
			require.NoError(t, m.Join(netip.AddrFrom4([4]byte{239, 1, 2, byte(i)}), eth0))
		}
		require.ErrorIs(t, m.Join(netip.MustParseAddr("239.9.9.9"), eth0), syscall.ENOBUFS)
		require.NoError(t, m.Join(netip.MustParseAddr("ff02::2:1"), eth0))
	})
}

// net.ipv4.igmp_max_msf and net.ipv6.mld_max_msf.
func TestSourcesOfAGroupAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a := n.Host("a", "10.0.0.1", "fd00::1")
		eth0 := a.Interface("eth0").NetInterface()
		m, err := on(a).ListenMulticast(ctx, "udp", ":9", udp.BaseHandler{})
		require.NoError(t, err)
		defer m.Close()
		for _, tt := range []struct {
			group  string
			source func(i int) string
			limit  int
		}{
			{"239.1.2.3", func(i int) string { return fmt.Sprintf("10.0.1.%d", i) }, 10},
			{"ff02::1:1", func(i int) string { return fmt.Sprintf("fd00::%x", i) }, 64},
		} {
			g := netip.MustParseAddr(tt.group)
			join := func(i int) error { return m.JoinSource(g, netip.MustParseAddr(tt.source(i)), eth0) }
			for i := range tt.limit {
				require.NoError(t, join(i+1))
			}
			require.ErrorIs(t, join(tt.limit+1), syscall.ENOBUFS, tt.group)
			require.NoError(t, m.LeaveSource(g, netip.MustParseAddr(tt.source(1)), eth0))
			require.NoError(t, join(tt.limit+1))
		}
	})
}
