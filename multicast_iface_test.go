package udp_test

import (
	"net/netip"
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
func TestAnInterfaceThatHasGoneHasNoIndex(t *testing.T) {
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
