package mcast_test

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// on are the names of the interfaces where the lab's only membership holds, and
// those where it doesn't, with a question mark.
func (l *lab) on() string {
	var names []string
	for _, m := range l.m.Memberships() {
		for _, on := range m.On {
			if on.Err != nil {
				on.Name += "?"
			}
			names = append(names, on.Name)
		}
	}
	return strings.Join(names, " ")
}

// Desired memberships for all interfaces and for named ones stand side by side; each is undone
// by what undoes it, whether or not it holds at that moment, and nothing else is.
func TestAllAndNamedSideBySide(t *testing.T) {
	group := netip.MustParseAddr("239.1.2.3")
	named := func(name string) *net.Interface { return &net.Interface{Name: name} }
	type step struct {
		do   func(*lab) error
		want string // where it holds
		err  error
	}
	join := func(want string, names ...string) step {
		return step{want: want, do: func(l *lab) error {
			var ifs []*net.Interface
			for _, name := range names {
				ifs = append(ifs, named(name))
			}
			return l.m.Join(group, ifs...)
		}}
	}
	leave := func(want string, names ...string) step {
		return step{want: want, do: func(l *lab) error {
			var ifs []*net.Interface
			for _, name := range names {
				ifs = append(ifs, named(name))
			}
			return l.m.Leave(group, ifs...)
		}}
	}
	fails := func(s step, err error) step { s.err = err; return s }
	change := func(want string, f func(*lab)) step {
		return step{want: want, do: func(l *lab) error { f(l); l.settled(); return nil }}
	}
	attach := func(l *lab) { l.near.Attach(l.wifi, "wlan0", wifiAddrs...) }
	down := func(l *lab) { l.eth0.SetDown(true) }
	up := func(l *lab) { l.eth0.SetDown(false) }
	remove := func(l *lab) { l.eth0.Remove() }
	again := func(l *lab) { l.eth0 = l.near.Attach(l.lan, "eth0", lanAddrs...) }
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"named after all", []step{join("eth0"), join("eth0 lo", "lo"), change("eth0 wlan0 lo", attach), leave("eth0 wlan0", "lo"), leave("")}},
		{"all after named", []step{join("lo", "lo"), join("eth0 lo"), leave("lo", "eth0"), change("wlan0 lo", attach), leave("")}},
		{"a named one that is in all", []step{join("eth0"), join("eth0", "eth0"), change("lo eth0?", down), change("eth0", up), leave("", "eth0"), change("wlan0", attach)}},
		{"all again takes in what was left", []step{join("eth0"), change("eth0 wlan0", attach), leave("wlan0", "eth0"), join("eth0 wlan0")}},
		{"the only one left, and another comes", []step{join("eth0"), leave("", "eth0"), change("wlan0", attach), leave("")}},
		{"the only one left joins no other", []step{join("eth0"), leave("", "eth0"), change("", func(l *lab) { l.eth0.AddAddr("10.0.0.77/24") })}},
		{"what holds nowhere", []step{join("eth0"), leave("", "eth0"), leave(""), fails(leave(""), syscall.EADDRNOTAVAIL), change("", attach)}},
		{"one left is renamed", []step{join("eth0"), leave("", "eth0"), change("", func(l *lab) { l.eth0.Rename("lan") }), join("lan", "lan")}},
		{"one left is replaced", []step{join("eth0"), leave("", "eth0"), change("lo", remove), change("", again)}},
		{"named ones left one by one", []step{join("eth0", "eth0"), join("eth0 lo", "lo"), leave("lo", "eth0"), leave("", "lo"),
			fails(leave(""), syscall.EADDRNOTAVAIL), change("", attach)}},
		{"left while it is down", []step{join("eth0", "eth0"), change("eth0?", down), leave(""), change("", up), fails(leave(""), syscall.EADDRNOTAVAIL)}},
		{"left by its name while it is gone", []step{join("eth0", "eth0"), change("eth0?", remove), leave("", "eth0"), change("", again)}},
		{"one of all left while it is down", []step{join("eth0"), change("lo", down), leave("lo", "eth0"), change("", up), join("eth0", "eth0")}},
		{"what was never wished", []step{join("eth0", "eth0"), fails(leave("eth0", "lo"), syscall.EADDRNOTAVAIL),
			fails(leave("eth0", "nothing"), syscall.EADDRNOTAVAIL), leave("", "eth0", "lo")}},
		{"what was left already", []step{join("eth0"), leave("", "eth0"), fails(leave("", "eth0"), syscall.EADDRNOTAVAIL)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "udp4")
				for i, step := range test.steps {
					err := step.do(l)
					if step.err != nil {
						require.ErrorIs(t, err, step.err, i)
					} else {
						require.NoError(t, err, i)
					}
					require.Equal(t, step.want, l.on(), i)
					l.settled()
					require.Equal(t, step.want, l.on(), i)
				}
				require.Empty(t, l.net.twice)
			})
		})
	}
}

// A Join that only one interface accepts succeeds and reports the failures of the others.
// They are tried again later, without a notification.
func TestWhatAJoinWasRefusedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("239.1.2.3")
		l := newLab(t, "udp4")
		l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		l.settled()
		l.net.refuse = func(p place) error {
			if p.ifindex != l.eth0.NetInterface().Index {
				return syscall.ENOBUFS
			}
			return nil
		}
		require.NoError(t, l.m.Join(group))
		time.Sleep(5 * time.Second)
		require.NoError(t, l.m.Join(group.Next()), "which puts nothing off")
		synctest.Wait()
		l.net.mu.Lock()
		l.net.refuse = nil
		l.net.mu.Unlock()
		require.Equal(t, "eth0 wlan0? eth0 wlan0?", l.on())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, "eth0 wlan0 eth0 wlan0", l.on())
	})
}

// What could not be asked of the system is asked again soon, and after ever longer
// pauses.
func TestInterfacesThatCantBeListedAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "udp4")
		require.NoError(t, l.m.Join(netip.MustParseAddr("239.1.2.3")))
		l.settled()
		fail := func(err error) {
			l.net.mu.Lock()
			defer l.net.mu.Unlock()
			l.net.err = err
		}
		for range 2 {
			fail(syscall.ENOBUFS)
			l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
			looks, _, _ := l.settled()
			require.Equal(t, 3, looks, "after 30, 330 and 930 milliseconds")
			fail(nil)
			time.Sleep(time.Second)
			l.settled()
			require.Equal(t, "eth0 wlan0", l.on())
			fail(syscall.ENOBUFS)
			l.near.Interface("wlan0").Remove()
			time.Sleep(time.Hour)
			synctest.Wait()
			looks, _ = l.net.reset()
			require.LessOrEqual(t, looks, 370)
			fail(nil)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			require.Equal(t, "eth0", l.on())
			l.net.reset()
		}
	})
}

// A filter that panics says no, and that is counted.
func TestAnInterfaceFilterThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "udp4")
		sockettest.Stop(t, l.m)
		cfg := udp.Config{Network: l.net, InterfaceFilter: func(ifi *net.Interface) bool {
			if ifi.Name == "wlan0" {
				panic("no wireless")
			}
			return true
		}}
		var err error
		l.m, err = cfg.ListenMulticast(t.Context(), "udp4", ":0", udp.BaseHandler{}, netip.MustParseAddr("239.1.2.3"))
		require.NoError(t, err)
		l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		l.settled()
		require.Equal(t, "eth0", l.on())
		require.EqualValues(t, 1, l.m.Stats().Panics)
		require.NoError(t, l.m.Join(netip.MustParseAddr("239.1.2.4")))
		require.Equal(t, "eth0 eth0", l.on())
	})
}
