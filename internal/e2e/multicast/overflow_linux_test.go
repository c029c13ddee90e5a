package multicast_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// The kernel also blocks sources of a group on an overflow socket, and reports them to routers
// and switches. Without overflow sockets the kernel filters again what only other sockets have
// joined.
func TestOverTheLimitAndBelowIt(t *testing.T) {
	netns.Run(t, func() {
		here, there := linked(t)
		reportsOnce(here)
		fd := sniff(t, there, "eth")
		groups := manyGroups(false, 21)
		last := groups[20]
		receiver := joinIn(t, here, udp.Config{}, "udp4", ":0", groups...)
		require.False(t, receiver.Info().MulticastFilter)
		awaitReport(t, fd, "to exclude", last)
		source := netip.MustParseAddr("192.0.2.50")
		require.NoError(t, receiver.BlockSource(last, source))
		awaitReport(t, fd, "block", last, source)
		require.NoError(t, receiver.UnblockSource(last, source))
		awaitReport(t, fd, "allow", last, source)

		require.NoError(t, receiver.Leave(last))
		require.Empty(t, kernelHas(t, here, last))
		require.True(t, receiver.Info().MulticastFilter)
		here.Do(func() { joinElsewhere(t, "udp4", last) })
		sender := joinIn(t, there, udp.Config{}, "udp4", ":0")
		for _, group := range []netip.Addr{last, groups[0]} {
			_, err := sender.SendGroup([]byte(group.String()), group, receiver.port(), there.Interface("eth"))
			require.NoError(t, err)
		}
		require.Equal(t, groups[0].String(), string(sockettest.Next(t, receiver.queue.Datagrams()).Data))
		require.Zero(t, receiver.Stats().Dropped.Stranger, "the kernel does it")

		require.NoError(t, receiver.Join(last))
		require.False(t, receiver.Info().MulticastFilter)
		hears(t, receiver, sender, last, "eth")
	})
}

// Whichever groups are left, the others are heard all the time, with the sources that they
// were joined and blocked for. The kernel filters again once no overflow socket is left.
func TestLeavingWithOverflowSockets(t *testing.T) {
	netns.Run(t, func() {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("the first ones %v", first), func(t *testing.T) {
				here, there := linked(t)
				sender := joinIn(t, there, udp.Config{}, "udp4", ":0")
				receiver := joinIn(t, here, udp.Config{}, "udp4", ":0")
				before := openSockets(t)
				groups := manyGroups(false, 45)
				for _, group := range groups[:43] {
					require.NoError(t, receiver.Join(group))
				}
				near, far := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.50")
				for _, source := range []netip.Addr{far, near} {
					require.NoError(t, receiver.JoinSource(groups[43], source))
				}
				require.NoError(t, receiver.Join(groups[44]))
				require.NoError(t, receiver.BlockSource(groups[44], far))
				require.NoError(t, receiver.BlockSource(groups[44], far.Next()))
				require.NoError(t, receiver.UnblockSource(groups[44], far.Next()))
				require.Equal(t, before+2, openSockets(t), "two overflow sockets")
				require.False(t, receiver.Info().MulticastFilter)

				left, rest, always := groups[:25], groups[25:], groups[44]
				if !first {
					left, rest, always = groups[20:], groups[:20], groups[0]
				}
				leave := func(groups []netip.Addr) {
					for _, m := range receiver.Memberships() {
						switch {
						case !slices.Contains(groups, m.Group):
							continue
						case m.Source.IsValid():
							require.NoError(t, receiver.LeaveSource(m.Group, m.Source))
						default:
							require.NoError(t, receiver.Leave(m.Group))
						}
					}
				}
				for i := range left {
					leave(left[i : i+1])
					hears(t, receiver, sender, always, "eth")
				}
				require.Equal(t, !first, receiver.Info().MulticastFilter)
				require.Equal(t, !first, openSockets(t) == before)
				eth := here.Interface("eth")
				for i, group := range rest {
					want := "exclude []"
					switch group {
					case groups[43]:
						want = "include [192.0.2.2 192.0.2.50]"
					case groups[44]:
						want = "exclude [192.0.2.50]"
					}
					require.Equal(t, want, kernelFilter(t, group, eth.Index), i)
					require.Equal(t, map[string]int{"eth": 1}, kernelHas(t, here, group))
					hears(t, receiver, sender, group, "eth")
				}
				leave(rest)
				for _, group := range groups {
					require.Empty(t, kernelHas(t, here, group))
				}
				require.True(t, receiver.Info().MulticastFilter)
				require.Equal(t, before, openSockets(t))
			})
		}
	})
}
