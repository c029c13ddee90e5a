package multicast_test

import (
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// manyGroups returns n groups of a family.
func manyGroups(v6 bool, n int) []netip.Addr {
	gs := make([]netip.Addr, n)
	for i := range gs {
		gs[i] = netip.AddrFrom4([4]byte{239, 7, byte(i >> 8), byte(i)})
		if v6 {
			gs[i] = netip.AddrFrom16([16]byte{0xff, 0x15, 14: byte(i >> 8), 15: byte(i)})
		}
	}
	return gs
}

// A socket can join any number of groups, whatever the system's limit is.
func TestAThousandGroups(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			t.Run(f.network, func(t *testing.T) {
				here := lan(t)
				const n = 1000
				groups := manyGroups(f.one.Is6(), n)
				fds := openFiles(t)
				receiver := joinIn(t, here, udp.Config{}, f.network, ":0", groups...)
				// These joins run on any thread: the socket's namespace counts.
				require.NoError(t, receiver.Join(f.one))
				t.Log("files for 1,001 groups:", openFiles(t)-fds)
				require.Len(t, receiver.Memberships(), n+1)
				sender := joinIn(t, here, udp.Config{}, f.network, ":0", f.one) // f.one only
				eth := here.Interface("eth")
				joined := kernelGroups(t, here, f.one.Is6())
				for i, group := range groups {
					require.Equal(t, map[string]int{"eth": 1}, joined[group])
					_, err := sender.SendGroup([]byte{byte(i >> 8), byte(i)}, group, receiver.port(), eth)
					require.NoError(t, err)
					d := sockettest.Next(t, receiver.queue.Datagrams())
					require.Equal(t, []byte{byte(i >> 8), byte(i)}, d.Data)
					require.Equal(t, group, d.To().Addr())
				}

				// Groups of other sockets are still not received.
				here.Do(func() { joinElsewhere(t, f.network, f.other) })
				_, err := sender.SendGroup([]byte("foreign"), f.other, receiver.port(), here.Interface("eth"))
				require.NoError(t, err)
				_, err = sender.SendGroup([]byte("last"), f.one, receiver.port())
				require.NoError(t, err)
				require.Equal(t, "last", string(sockettest.Next(t, receiver.queue.Datagrams()).Data))
				if f.one.Is4() {
					require.EqualValues(t, 1, receiver.Stats().Dropped.Stranger)
					require.False(t, receiver.Info().MulticastFilter)
				}

				for _, group := range groups {
					require.NoError(t, receiver.Leave(group))
				}
				joined = kernelGroups(t, here, f.one.Is6())
				for _, group := range groups {
					require.Empty(t, joined[group])
				}
			})
		}
	})
}

func openFiles(t testing.TB) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(es)
}

// Memberships on overflow sockets follow their interfaces too.
func TestMembershipsOverTheLimitOutliveTheirInterface(t *testing.T) {
	netns.Run(t, func() {
		here, there := linked(t)
		groups := manyGroups(false, 50)
		receiver := joinIn(t, here, udp.Config{}, "udp4", ":0", groups...)
		sender := joinIn(t, there, udp.Config{}, "udp4", ":0")
		for range 3 {
			here.IP("link del eth")
			cable(t, here, there)
			for range groups {
				receiver.await(t, "joined again", heldOn("eth"))
			}
			joined := kernelGroups(t, here, false)
			for _, group := range groups {
				require.Equal(t, map[string]int{"eth": 1}, joined[group])
				hears(t, receiver, sender, group, "eth")
			}
		}
	})
}

// Too many sources of one group are an error that names the sysctl.
func TestTooManySources(t *testing.T) {
	netns.Run(t, func() {
		here := lan(t)
		group := netip.MustParseAddr("232.1.2.3")
		receiver := joinIn(t, here, udp.Config{}, "udp4", ":0")
		source := netip.MustParseAddr("192.0.2.100")
		for range 10 {
			require.NoError(t, receiver.JoinSource(group, source))
			source = source.Next()
		}
		err := receiver.JoinSource(group, source)
		sockettest.RequireOpError(t, err, "join")
		require.ErrorIs(t, err, syscall.ENOBUFS)
		require.True(t, strings.Contains(err.Error(), "net.ipv4.igmp_max_msf"), err)
		require.Len(t, receiver.Memberships(), 10)
	})
}

// While a group is joined for all sources, any number of them can also be joined singly. After
// it is left, those beyond the limit are reported and tried again.
func TestTooManySourcesOfAGroupThatIsLeft(t *testing.T) {
	netns.Run(t, func() {
		here := lan(t)
		group := netip.MustParseAddr("232.1.2.3")
		receiver := joinIn(t, here, udp.Config{}, "udp4", ":0", group)
		source := netip.MustParseAddr("192.0.2.100")
		for range 11 {
			require.NoError(t, receiver.JoinSource(group, source))
			source = source.Next()
		}
		last := source.Prev()
		require.NoError(t, receiver.Leave(group))
		refused := receiver.await(t, "refused", func(m udp.Membership) bool { return m.Source == last })
		require.ErrorIs(t, refused.On[0].Err, syscall.ENOBUFS)
		held := 0
		for _, m := range receiver.Memberships() {
			if m.Held() {
				held++
			}
		}
		require.Equal(t, 10, held)
		require.NoError(t, receiver.LeaveSource(group, netip.MustParseAddr("192.0.2.100")))
		receiver.await(t, "there is room", func(m udp.Membership) bool { return m.Source == last && m.Held() })
	})
}
