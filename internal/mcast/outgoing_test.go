package mcast_test

import (
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// While the interface that was chosen for sending is gone nothing is sent to groups,
// also not by another one that has its index now; to others it is.
func TestNothingLeavesByAnotherInterfaceOfThatIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "udp4")
		group := netip.AddrPortFrom(netip.MustParseAddr("239.1.2.3"), l.far.LocalAddrPort().Port())
		index := l.eth0.NetInterface().Index
		require.NoError(t, l.m.SetMulticastInterface(l.eth0.NetInterface()))
		l.eth0.Remove()
		wlan := l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		require.Equal(t, index, wlan.NetInterface().Index)
		l.settled()
		_, err := l.m.MulticastInterface()
		require.ErrorIs(t, err, syscall.ENODEV)
		for _, send := range []func() error{
			func() error { return l.m.SendTo([]byte("x"), group) },
			func() error { _, err := l.m.SendBatch([]udp.Message{{Data: []byte("x"), To: group}}); return err },
			func() error {
				c, err := l.m.Connect(group)
				require.NoError(t, err)
				defer c.Disconnect()
				return c.Send([]byte("x"))
			},
		} {
			err := send()
			sockettest.RequireOpError(t, err, "send")
			require.ErrorIs(t, err, syscall.ENODEV)
		}
		require.EqualValues(t, 3, l.m.Stats().SendFailed.Unreachable)
		require.NoError(t, l.m.SendTo([]byte("x"), netip.MustParseAddrPort("10.9.0.1:1")))
		sent, err := l.m.SendGroup([]byte("x"), group.Addr(), group.Port(), wlan.NetInterface())
		require.NoError(t, err, "named")
		require.Len(t, sent, 1)

		require.NoError(t, l.m.SetMulticastInterface(nil))
		require.NoError(t, l.m.SendTo([]byte("x"), group))
		require.NoError(t, l.m.SetMulticastInterface(wlan.NetInterface()))
		require.NoError(t, l.m.SendTo([]byte("x"), group))
	})
}
