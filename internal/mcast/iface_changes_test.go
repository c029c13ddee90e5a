package mcast_test

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// A *net.Interface that is out of date means the interface of its name, if there is
// one: its index may be another's by now. If there is none it was renamed.
func TestAStaleInterface(t *testing.T) {
	group := netip.MustParseAddr("239.1.2.3")
	for _, test := range []struct {
		name   string
		change func(*lab)
		want   string
	}{
		{"its index is another's", func(l *lab) {
			l.eth0.Remove()
			l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
			l.near.Attach(l.lan, "eth0", lanAddrs...)
		}, "eth0"},
		{"its index is nobody's", func(l *lab) {
			l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
			l.eth0.Remove()
			l.near.Attach(l.lan, "eth0", lanAddrs...)
		}, "eth0"},
		{"it was renamed", func(l *lab) { l.eth0.Rename("lan0") }, "lan0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "udp4")
				old := l.eth0.NetInterface()
				test.change(l)
				l.settled()
				require.NoError(t, l.m.Join(group, old))
				require.Equal(t, test.want, l.on())
				require.NoError(t, l.m.SetMulticastInterface(old))
				ifi, err := l.m.MulticastInterface()
				require.NoError(t, err)
				require.Equal(t, test.want, ifi.Name)
				sent, err := l.m.SendGroup([]byte("x"), group, 9, old)
				require.NoError(t, err)
				require.Equal(t, test.want, sent[0].Name)
				require.NoError(t, l.m.Leave(group, old))
				require.Empty(t, l.m.Memberships())
			})
		})
	}
}

// An interface that has gone has no index, from the first moment that it is known.
func TestARemovedInterfaceHasNoIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("239.1.2.3")
		l := newLab(t, "udp4")
		require.NoError(t, l.m.Join(group, l.eth0.NetInterface()))
		require.NoError(t, l.m.Join(group.Next()))
		l.settled()
		l.eth0.Remove()
		require.NoError(t, l.m.Leave(group.Next())) // which lets go
		for range 2 {
			on := l.m.Memberships()[0].On
			require.Len(t, on, 1)
			require.ErrorIs(t, on[0].Err, syscall.ENODEV)
			require.Equal(t, "eth0", on[0].Name)
			require.Zero(t, on[0].Index)
			l.settled()
		}
	})
}

// unhashable is a Network that can't be the key of a map.
type unhashable struct {
	udp.Network
	_ []int
}

func TestANetworkThatCantBeCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "udp4")
		sockettest.Stop(t, l.m)
		for range 2 {
			m, err := udp.Config{Network: unhashable{Network: l.net}}.ListenMulticast(t.Context(), "udp4", ":0",
				udp.BaseHandler{}, netip.MustParseAddr("239.1.2.3"))
			require.NoError(t, err)
			l.m = m
			t.Cleanup(func() { sockettest.Stop(t, m) })
			l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
			l.settled()
			require.Equal(t, "eth0 wlan0", l.on())
			l.near.Interface("wlan0").Remove()
			l.settled()
			sockettest.Stop(t, m)
		}
	})
}

// A zone is a name as good as another: what was joined by it can be left when there
// is no interface of that name any more, and what can't be joined says so.
func TestAZoneWhoseInterfaceWasRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("ff02::1234")
		l := newLab(t, "udp6")
		require.NoError(t, l.m.Join(group.WithZone("eth0")))
		l.eth0.Remove()
		l.settled()
		require.Equal(t, "eth0?", l.on())
		sent, err := l.m.SendGroup([]byte("x"), group.WithZone("eth0"), 9)
		require.ErrorIs(t, err, syscall.ENODEV)
		require.Len(t, sent, 1)
		require.ErrorIs(t, l.m.Leave(group.WithZone("wlan0")), syscall.EADDRNOTAVAIL)
		require.NoError(t, l.m.Leave(group.WithZone("eth0")))
		require.Empty(t, l.m.Memberships())

		for _, zone := range []string{"eth0", "nothing"} {
			err := l.m.Join(group.WithZone(zone))
			sockettest.RequireOpError(t, err, "join")
			require.ErrorIs(t, err, syscall.ENODEV)
		}
		for _, f := range []func(netip.Addr, ...*net.Interface) error{l.m.Join, l.m.Leave} {
			require.Error(t, f(group.WithZone("4711")), "an index is none to wait for")
		}
		require.Empty(t, l.m.Memberships())
	})
}

// While the interface that was chosen for sending is gone, what names another one by
// its zone leaves by that; where the system would not look at the zone nothing does.
func TestAZoneIsAsGoodAsTheChosenInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "udp6")
		require.NoError(t, l.m.SetMulticastInterface(l.eth0.NetInterface()))
		l.eth0.Remove()
		l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		l.settled()
		for _, test := range []struct {
			to   string
			sent bool
		}{
			{"[ff02::1234%wlan0]:9", true}, {"[ff02::1234]:9", false},
			{"[ff01::1234%wlan0]:9", true}, {"[ff05::1234%wlan0]:9", false},
		} {
			to := netip.MustParseAddrPort(test.to)
			send := func() error { return l.m.SendTo([]byte("x"), to) }
			connected := func() error {
				c, err := l.m.Connect(to)
				require.NoError(t, err)
				defer c.Disconnect()
				return c.Send([]byte("x"))
			}
			for _, f := range []func() error{send, connected} {
				if err := f(); test.sent {
					require.NoError(t, err, test.to)
				} else {
					require.ErrorIs(t, err, syscall.ENODEV, test.to)
				}
			}
		}
	})
}

// filtered replaces the lab's socket by one with a filter, and joins the group.
func (l *lab) filtered(filter func(*net.Interface) bool, group netip.Addr) {
	l.t.Helper()
	sockettest.Stop(l.t, l.m)
	cfg := udp.Config{Network: l.net, InterfaceFilter: filter}
	m, err := cfg.ListenMulticast(l.t.Context(), "udp4", ":0", udp.BaseHandler{}, group)
	require.NoError(l.t, err)
	l.m = m
	l.t.Cleanup(func() { l.m.Close() })
}

// The filter is called while memberships are reconciled, so that its newest result counts
// after each change of the interfaces.
func TestAnInterfaceFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("239.1.2.3")
		l := newLab(t, "udp4")
		l.filtered(func(ifi *net.Interface) bool { return ifi.Name != "lan0" }, group)
		joins := func(on string) {
			t.Helper()
			l.settled()
			require.Equal(t, on, l.on())
			require.NoError(t, l.m.Join(group))
			sent, err := l.m.SendGroup([]byte("x"), group.Next(), 9)
			require.NoError(t, err)
			require.Len(t, sent, len(strings.Fields(on)))
			require.Equal(t, on, l.on())
		}
		joins("eth0")
		l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		joins("eth0 wlan0")
		l.eth0.Rename("lan0")
		joins("wlan0")
		l.eth0.Rename("eth0")
		joins("eth0 wlan0")
		l.eth0.SetDown(true)
		joins("wlan0")
		l.eth0.SetDown(false)
		joins("eth0 wlan0")
		l.eth0.Remove()
		l.eth0 = l.near.Attach(l.lan, "eth0", lanAddrs...)
		joins("wlan0 eth0")
		l.near.Interface("wlan0").Remove()
		joins("eth0")
	})
}
