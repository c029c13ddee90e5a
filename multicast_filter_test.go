package udp_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

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
