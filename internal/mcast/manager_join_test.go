package mcast_test

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// A Join reconciles changes of interfaces of which no notification has arrived yet. They
// are reported as if one had, whether or not the Join succeeds.
func TestWhatAJoinChangesIsReported(t *testing.T) {
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
				_, _, reported := l.settled()
				require.NotEmpty(t, reported)
				require.Equal(t, l.m.Memberships()[0], reported[0])
			})
		})
	}
}

// OnMembership is not called for memberships that did not change.
func TestAJoinThatChangesNothingReportsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "udp4")
		for range 3 {
			require.NoError(t, l.m.Join(netip.MustParseAddr("239.1.2.3")))
		}
		_, joins, reported := l.settled()
		require.Equal(t, 1, joins)
		require.Empty(t, reported)
	})
}

// grant lets join what was refused.
func (l *lab) grant() {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.net.refuse = nil
}

// What the toolkit refuses by itself is no system call's error, though it has its
// errno, and says what is wrong.
func TestWhatTheToolkitRefusesNamesNoSystemCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group, other := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("239.1.2.4")
		source := netip.MustParseAddr("10.0.0.1")
		l := newLab(t, "udp4")
		bound, err := udp.Config{Network: l.net}.ListenMulticast(t.Context(), "udp4", "239.1.2.3:0", udp.BaseHandler{})
		require.NoError(t, err)
		defer sockettest.Stop(t, bound)
		for _, test := range []struct {
			err   error
			errno syscall.Errno
			says  string
		}{
			{l.m.Join(source), syscall.EINVAL, "10.0.0.1 is not a multicast group"},
			{l.m.JoinSource(group, other), syscall.EINVAL, "239.1.2.4 cannot be a source"},
			{l.m.SetMulticastTTL(256), syscall.EINVAL, "256"},
			{l.m.SetMulticastInterface(&net.Interface{Name: "nothing"}), syscall.ENODEV, "no such interface"},
			{l.m.Leave(group), syscall.EADDRNOTAVAIL, "not joined"},
			{l.m.BlockSource(group, source), syscall.EADDRNOTAVAIL, "not joined"},
			{bound.UnblockSource(group, source), syscall.EADDRNOTAVAIL, "not blocked"},
			{bound.Join(other), syscall.EINVAL, "bound to 239.1.2.3"},
			{bound.JoinSource(other, source), syscall.EINVAL, "bound to 239.1.2.3"},
			{bound.Leave(other), syscall.EADDRNOTAVAIL, "not joined"},
			{bound.LeaveSource(other, source), syscall.EADDRNOTAVAIL, "not joined"},
			{bound.BlockSource(other, source), syscall.EADDRNOTAVAIL, "not joined"},
		} {
			require.ErrorIs(t, test.err, test.errno, test.says)
			require.ErrorContains(t, test.err, test.says)
			require.NotErrorAs(t, test.err, new(*os.SyscallError))
			require.ErrorAs(t, test.err, new(*net.OpError))
		}
	})
}

// After news of the interfaces were lost any of them may be another one, though it
// looks the same: everything is left and joined once.
func TestAfterLostEventsEverythingIsJoinedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "udp6")
		groups := manyGroups(30)
		for _, group := range groups {
			require.NoError(t, l.m.Join(group))
		}
		l.settled()
		l.net.mu.Lock()
		l.net.lost++
		before := maps.Clone(l.net.joined)
		l.net.mu.Unlock()
		l.eth0.AddAddr("fd00::77/64") // any news
		l.hears(l.lan, groups[7], nil)
		looks, joins, _ := l.settled()
		require.Equal(t, 1, looks)
		require.Equal(t, len(before), joins)
		require.Equal(t, before, l.net.joined)
		require.Empty(t, l.net.twice)
	})
}

// When an interface has lost its memberships and they are joined again, nothing is
// reported but those that cannot be.
func TestWhatAnInterfaceHasLostIsJoinedInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("ff35::1234")
		l := newLab(t, "udp6")
		require.NoError(t, l.m.Join(group))
		require.NoError(t, l.m.Join(group.Next(), l.eth0.NetInterface()))
		l.settled()
		lose := func(refuse error) {
			l.net.mu.Lock()
			l.net.empty++
			l.net.refuse = func(place) error { return refuse }
			l.net.mu.Unlock()
			l.eth0.AddAddr(netip.AddrFrom16([16]byte{0xfd, 15: byte(0x80 + l.net.empty)}).String() + "/64") // any news
		}
		for range 3 {
			lose(nil)
			l.hears(l.lan, group, nil)
			_, joins, reported := l.settled()
			require.Equal(t, 2, joins)
			require.Empty(t, reported)
			require.Empty(t, l.net.twice)
		}
		lose(nil)
		require.NoError(t, l.m.Join(group.Prev()), "before the news")
		_, joins, reported := l.settled()
		require.Equal(t, 3, joins)
		require.Empty(t, reported)
		lose(syscall.ENETDOWN)
		_, _, reported = l.settled()
		require.Len(t, reported, 3)
		require.ErrorIs(t, reported[0].On[0].Err, syscall.ENETDOWN)
	})
}

// What an interface has refused is tried again: in ten seconds, and before that
// when anything changes.
func TestWhatWasRefusedIsTriedAgain(t *testing.T) {
	for _, test := range []struct {
		name string
		soon func(*lab)
		want time.Duration
	}{
		{"when nothing happens", func(*lab) {}, 10 * time.Second},
		{"at the next change", func(l *lab) { l.eth0.AddAddr("10.0.0.77/24") }, time.Second},
		{"when another group is left", func(l *lab) { require.NoError(l.t, l.m.Leave(netip.MustParseAddr("239.1.2.4"))) }, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				group := netip.MustParseAddr("239.1.2.3")
				l := newLab(t, "udp4")
				require.NoError(t, l.m.Join(group))
				require.NoError(t, l.m.Join(group.Next(), l.eth0.NetInterface()))
				l.settled()
				l.net.refuse = func(p place) error {
					if p.ifindex != l.eth0.NetInterface().Index {
						return syscall.ENOBUFS
					}
					return nil
				}
				start := time.Now()
				l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
				_, joins, reported := l.settled()
				require.Zero(t, joins)
				require.Len(t, reported, 1)
				require.ErrorIs(t, reported[0].On[1].Err, syscall.ENOBUFS)
				require.True(t, reported[0].Held())

				l.net.mu.Lock()
				l.net.refuse = nil
				l.net.mu.Unlock()
				test.soon(l)
				l.hears(l.wifi, group, nil)
				require.LessOrEqual(t, time.Since(start), time.Second+test.want)
				_, joins, reported = l.settled()
				require.Equal(t, 1, joins)
				require.Len(t, reported, 1)
				require.NoError(t, errors.Join(reported[0].On[0].Err, reported[0].On[1].Err))
			})
		})
	}
}

// When all of a group is refused, after some of its sources were joined, these stay.
func TestWhatIsRefusedLeavesTheRestAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group, source := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("10.0.0.1")
		l := newLab(t, "udp4")
		require.NoError(t, l.m.JoinSource(group, source))
		before := l.m.Memberships()
		l.net.refuse = func(p place) error {
			if !p.source.IsValid() {
				return syscall.ENOBUFS
			}
			return nil
		}
		require.ErrorIs(t, l.m.Join(group), syscall.ENOBUFS)
		require.Equal(t, before, l.m.Memberships())
		l.hears(l.lan, group, nil)

		// Unless they are refused as well: then that is reported.
		l.settled()
		granted := 0
		l.net.refuse = func(p place) error { granted++; return syscall.ENOMEM }
		require.ErrorIs(t, l.m.Join(group), syscall.ENOMEM)
		require.Equal(t, 2, granted)
		_, _, reported := l.settled()
		require.Len(t, reported, 1)
		require.ErrorIs(t, reported[0].On[0].Err, syscall.ENOMEM)
		require.False(t, l.m.Memberships()[0].Held())
	})
}
