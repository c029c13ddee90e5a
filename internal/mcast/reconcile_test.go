package mcast_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

// After each change of the interfaces datagrams are received within a second. The toolkit
// lists the interfaces once for each change, reports it once, and joins nothing twice.
func TestWithinASecondOfEachChange(t *testing.T) {
	for _, f := range []struct {
		network string
		group   netip.Addr
		sources []netip.Addr
		addr    string // of near on lan
	}{
		{"udp4", netip.MustParseAddr("232.1.2.3"), []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.9.0.1")}, lanAddrs[0]},
		{"udp6", netip.MustParseAddr("ff35::1234"), []netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd09::1")}, lanAddrs[1]},
	} {
		for _, specific := range []bool{false, true} {
			for _, named := range []bool{false, true} {
				name := fmt.Sprintf("%s, source-specific %v, interfaces named %v", f.network, specific, named)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						l := newLab(t, f.network)
						var ifs []*net.Interface
						if named {
							ifs = append(ifs, l.eth0.NetInterface(), &net.Interface{Name: "wlan0"})
						}
						desired := 1
						if specific {
							desired = len(f.sources)
							for _, source := range f.sources {
								require.NoError(t, l.m.JoinSource(f.group, source, ifs...))
							}
						} else {
							require.NoError(t, l.m.Join(f.group, ifs...))
						}
						l.hears(l.lan, f.group, nil)
						l.settled()
						l.eachChange(f.group, f.addr, desired, named)

						l.net.mu.Lock()
						require.Empty(t, l.net.twice)
						l.net.mu.Unlock()
						if !specific {
							require.NoError(t, l.m.Leave(f.group))
							require.Empty(t, l.net.joined)
						}
					})
				})
			}
		}
	}
}

func (l *lab) eachChange(group netip.Addr, addr string, desired int, named bool) {
	index := l.eth0.NetInterface().Index
	for _, step := range []struct {
		name  string
		via   *udptest.Segment
		away  func() // nil: the change has no first half
		back  func()
		same  bool // back changes nothing that is reported
		stays bool // away changes nothing that is reported
	}{
		{name: "an interface is added", via: l.wifi,
			back: func() { l.near.Attach(l.wifi, "wlan0", wifiAddrs...) }},
		{name: "down and up", via: l.lan,
			away: func() { l.eth0.SetDown(true) },
			back: func() { l.eth0.SetDown(false) }},
		{name: "removed, and recreated with another index", via: l.lan,
			away: func() { l.eth0.Remove() },
			back: func() {
				l.eth0 = l.near.Attach(l.lan, "eth0", lanAddrs...)
				require.NotEqual(l.t, index, l.eth0.NetInterface().Index)
				index = l.eth0.NetInterface().Index
			}},
		{name: "removed and at once recreated with the same index", via: l.lan,
			back: func() {
				l.eth0.Remove()
				l.eth0 = l.near.Attach(l.lan, "eth0", lanAddrs...)
				require.Equal(l.t, index, l.eth0.NetInterface().Index)
			}},
		{name: "the address is lost, and gained", via: l.lan,
			away:  func() { l.eth0.RemoveAddr(addr) },
			back:  func() { l.eth0.AddAddr(addr) },
			stays: named}, // joined, but cannot be sent from meanwhile
		{name: "the address is another at once", via: l.lan,
			back: func() {
				p := netip.MustParsePrefix(addr)
				l.eth0.AddAddr(netip.PrefixFrom(p.Addr().Next(), p.Bits()).String())
				l.eth0.RemoveAddr(addr)
			},
			same: true},
		{name: "renamed", via: l.lan,
			back: func() { l.eth0.Rename("lan0") }},
	} {
		require := require.New(l.t)
		expect := func(half string, same bool) {
			l.t.Helper()
			looks, _, reported := l.settled()
			require.Equal(1, looks, "%s, %s", step.name, half)
			if same {
				require.Empty(reported, "%s, %s", step.name, half)
				return
			}
			require.Len(reported, desired, "%s, %s", step.name, half)
		}
		if step.away != nil {
			step.away()
			expect("away", step.stays)
		}
		step.back()
		silent := l.hears(step.via, group, nil)
		require.LessOrEqual(silent, time.Second, step.name)
		expect("back", step.same)
		l.t.Log(step.name, "and heard after", silent)
	}
}

// A burst of changes is settled once. One that doesn't end is settled meanwhile,
// not at each change, and what it has brought is heard within a second too.
func TestABurstIsReconciledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("ff35::1234")
		l := newLab(t, "udp6")
		require.NoError(t, l.m.Join(group))
		l.settled()

		// A hundred interfaces at one instant.
		for i := range 100 {
			l.near.Attach(l.crowd, fmt.Sprint("vlan", i), fmt.Sprintf("fd08::%d/64", i+1))
		}
		looks, joins, reported := l.settled()
		require.Equal(t, 1, looks)
		require.Equal(t, 100, joins)
		require.Len(t, reported, 1)
		require.Len(t, reported[0].On, 101)

		// One interface, ten times, a hundredth of a second apart; at the end it is up.
		for i := range 10 {
			l.eth0.SetDown(i%2 == 0)
			time.Sleep(10 * time.Millisecond)
		}
		looks, joins, reported = l.settled()
		require.Equal(t, 1, looks)
		require.Zero(t, joins, "it is what it was")
		require.Empty(t, reported)

		// And for ever.
		begin, changes := time.Now(), 0
		flap := func() { changes++; l.eth0.SetDown(changes%2 == 1) }
		flap()
		l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		silent := l.hears(l.wifi, group, flap)
		require.LessOrEqual(t, silent, time.Second)
		for range 300 {
			time.Sleep(10 * time.Millisecond)
			flap()
		}
		lasted := time.Since(begin)
		looks, _, _ = l.settled()
		require.Greater(t, changes, 300)
		require.LessOrEqual(t, looks, int(lasted/(300*time.Millisecond))+1)
		require.Empty(t, l.net.twice)
		t.Log(changes, "changes in", lasted, "were settled", looks, "times; heard after", silent)
	})
}

// What is left of an interface that has gone is left by every socket before any of
// them joins on the next one of its index: the kernel knows an interface by its index. That
// holds also for a Join or a Leave that comes before the change has been settled.
func TestAllSocketsLeaveBeforeAnyJoins(t *testing.T) {
	group := netip.MustParseAddr("239.1.2.3")
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.9")
	for _, test := range []struct {
		name  string
		soon  func(*lab) error // after the change
		joins int
	}{
		{"settled", func(*lab) error { return nil }, 7},
		{"a group is joined", func(l *lab) error { return l.m.Join(group.Prev()) }, 8},
		{"a source is joined again", func(l *lab) error { return l.m.JoinSource(group, one) }, 7},
		{"another source is joined", func(l *lab) error { return l.m.JoinSource(group, two.Next()) }, 8},
		{"a group is left", func(l *lab) error { return l.m.Leave(group.Next()) }, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "udp4")
				others := make([]*udp.MulticastConn, 3)
				for i := range others {
					var err error
					others[i], err = udp.Config{Network: l.net}.ListenMulticast(t.Context(), "udp4", ":0", udp.BaseHandler{})
					require.NoError(t, err)
					t.Cleanup(func() { sockettest.Stop(t, others[i]) })
				}
				for _, m := range append(others, l.m) {
					require.NoError(t, m.JoinSource(group, one))
				}
				require.NoError(t, l.m.JoinSource(group, two))
				require.NoError(t, l.m.Join(group.Next()))
				require.NoError(t, others[0].Join(group.Next()))
				l.settled()
				l.net.mu.Lock()
				l.net.calls = nil
				l.net.mu.Unlock()

				index := l.eth0.NetInterface().Index
				l.eth0.Remove()
				l.eth0 = l.near.Attach(l.lan, "eth0", lanAddrs...)
				require.Equal(t, index, l.eth0.NetInterface().Index)
				require.NoError(t, test.soon(l))
				l.settled()
				join, leave := fmt.Sprint("join ", index), fmt.Sprint("leave ", index)
				// Each socket leaves each group once.
				want := slices.Repeat([]string{leave}, 6)
				want = append(want, slices.Repeat([]string{join}, test.joins)...)
				require.Equal(t, want, l.net.calls)
				for _, m := range append(others, l.m) {
					for _, membership := range m.Memberships() {
						require.True(t, heldOn("eth0")(membership), "%+v", membership)
					}
				}
				l.hears(l.lan, group, nil)
			})
		})
	}
}
