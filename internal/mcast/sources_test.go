package mcast_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A source is not blocked on what is left of an interface whose index another one has.
func TestBlockingLeavesRemovedInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group, source := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("10.9.0.1")
		l := newLab(t, "udp4")
		require.NoError(t, l.m.Join(group))
		index := l.eth0.NetInterface().Index
		l.eth0.Remove()
		require.Equal(t, index, l.near.Attach(l.wifi, "wlan0", wifiAddrs...).NetInterface().Index)
		l.net.mu.Lock()
		l.net.calls = nil
		l.net.mu.Unlock()
		require.NoError(t, l.m.BlockSource(group, source))
		l.net.mu.Lock()
		require.Equal(t, []string{fmt.Sprint("leave ", index)}, l.net.calls)
		l.net.mu.Unlock()
		l.settled()
		require.Equal(t, "wlan0", l.on())
	})
}
