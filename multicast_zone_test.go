package udp_test

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/sockettest"
)

// A zone is a name as good as another: what was joined by it can be left when there
// is no interface of that name any more, and what can't be joined says so.
func TestAZoneWhoseInterfaceHasGone(t *testing.T) {
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
