package udp_test

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A Join reconciles changes of interfaces of which no notification has arrived yet. They
// are reported as if one had, whether or not the Join succeeds.
func TestWhatAJoinSettlesIsTold(t *testing.T) {
	group := netip.MustParseAddr("239.1.2.3")
	for _, test := range []struct {
		name   string
		change func(*lab)
		again  *net.Interface // nil: all
		fails  bool
		refuse bool // wlan0
		before string
		after  string
	}{
		{name: "one is added", before: "eth0 wlan0", after: "eth0 wlan0 vlan7",
			change: func(l *lab) { l.near.Attach(l.crowd, "vlan7", "10.8.0.2/24") }},
		{name: "one has gone", before: "eth0 wlan0", after: "wlan0",
			change: func(l *lab) { l.eth0.Remove() }},
		{name: "one is granted", refuse: true, before: "eth0 wlan0?", after: "eth0 wlan0",
			change: (*lab).grant},
		{name: "one is granted to a Join that fails", refuse: true, before: "eth0 wlan0?", after: "eth0 wlan0",
			change: (*lab).grant, again: &net.Interface{Name: "nothing"}, fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "udp4")
				l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
				l.net.refuse = func(p place) error {
					if test.refuse && p.ifindex != l.eth0.NetInterface().Index {
						return syscall.ENOBUFS
					}
					return nil
				}
				require.NoError(t, l.m.Join(group))
				l.settled()
				require.Equal(t, test.before, l.on())
				test.change(l)
				var ifs []*net.Interface
				if test.again != nil {
					ifs = append(ifs, test.again)
				}
				err := l.m.Join(group, ifs...)
				require.Equal(t, test.fails, err != nil, "%v", err)
				require.Equal(t, test.after, l.on())
				_, _, told := l.settled()
				require.NotEmpty(t, told)
				require.Equal(t, l.m.Memberships()[0], told[0])
			})
		})
	}
}

// What nothing has happened to is not told.
func TestAJoinThatChangesNothingTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "udp4")
		for range 3 {
			require.NoError(t, l.m.Join(netip.MustParseAddr("239.1.2.3")))
		}
		_, joins, told := l.settled()
		require.Equal(t, 1, joins)
		require.Empty(t, told)
	})
}

// grant lets join what was refused.
func (l *lab) grant() {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.net.refuse = nil
}
