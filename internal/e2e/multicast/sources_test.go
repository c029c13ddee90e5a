package multicast_test

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// The kernel drops a blocked source until it is unblocked, also after the interface was created
// again.
func TestBlockSource(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range []struct {
			network       string
			group         netip.Addr
			first, second netip.Addr // of the sender
			filter        string     // file of /proc/net
		}{
			{"udp4", netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3"), "mcfilter"},
			{"udp6", netip.MustParseAddr("ff15::1234"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::3"), "mcfilter6"},
		} {
			t.Run(f.network, func(t *testing.T) {
				here, there := linked(t)
				address(there, 3)
				receiver := joinIn(t, here, udp.Config{}, f.network, ":0", f.group)
				first := joinIn(t, there, udp.Config{}, f.network, netip.AddrPortFrom(f.first, 0).String())
				second := joinIn(t, there, udp.Config{}, f.network, netip.AddrPortFrom(f.second, 0).String())
				send := func(from *member, data string) {
					_, err := from.SendGroup([]byte(data), f.group, receiver.port(), there.Interface("eth"))
					require.NoError(t, err)
				}
				blocked := func() bool { return filtered(t, here, f.filter, f.group, f.first) }

				hears(t, receiver, first, f.group, "eth")
				require.ErrorIs(t, receiver.UnblockSource(f.group, f.first), syscall.EADDRNOTAVAIL)
				require.NoError(t, receiver.BlockSource(f.group, f.first))
				require.NoError(t, receiver.BlockSource(f.group, f.first))
				require.Equal(t, []netip.Addr{f.first}, receiver.Memberships()[0].Blocked)
				require.True(t, blocked())

				for range 2 {
					hears(t, receiver, second, f.group, "eth")
					// Datagrams of the first that were queued before it was blocked have been
					// dropped by now.
					before := receiver.Stats().Dropped.Stranger
					send(first, "blocked")
					send(second, "not blocked")
					require.Equal(t, "not blocked", string(skip(t, receiver, "Test").Data))
					require.Equal(t, before, receiver.Stats().Dropped.Stranger, "the kernel does it")
					here.IP("link del eth")
					cable(t, here, there)
					address(there, 3)
					receiver.await(t, "joined again", heldOn("eth"))
					here.AwaitRunning("eth")
					receiver.seesAll(t) // when the carrier comes after the first join, it joins once more
					require.True(t, blocked())
				}
				require.NoError(t, receiver.UnblockSource(f.group, f.first))
				require.False(t, blocked())
				hears(t, receiver, first, f.group, "eth")

				require.ErrorIs(t, receiver.BlockSource(f.group.Next(), f.first), syscall.EADDRNOTAVAIL)
			})
		}
	})
}

// Beyond the kernel's limit the toolkit blocks.
func TestBlockSourceBeyondTheLimit(t *testing.T) {
	netns.Run(t, func() {
		here := lan(t)
		group := netip.MustParseAddr("239.1.2.3")
		receiver := joinIn(t, here, udp.Config{}, "udp4", ":0", group)
		for i := range 30 {
			require.NoError(t, receiver.BlockSource(group, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})))
		}
		require.NoError(t, receiver.BlockSource(group, netip.MustParseAddr("192.0.2.1")))
		sender := joinIn(t, here, udp.Config{}, "udp4", "192.0.2.1:0")
		_, err := sender.SendGroup([]byte("blocked"), group, receiver.port(), here.Interface("eth"))
		require.NoError(t, err)
		require.NoError(t, sender.SendTo([]byte("unicast"), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), receiver.port())))
		require.Equal(t, "unicast", string(sockettest.Next(t, receiver.queue.Datagrams()).Data))
		require.EqualValues(t, 1, receiver.Stats().Dropped.Stranger)
	})
}

// skip receives datagrams until one does not begin with prefix.
func skip(t testing.TB, m *member, prefix string) udp.Datagram {
	t.Helper()
	for {
		if d := sockettest.Next(t, m.queue.Datagrams()); !strings.HasPrefix(string(d.Data), prefix) {
			return d
		}
	}
}

// The kernel has a joined source in INCLUDE mode, a blocked one in EXCLUDE mode, and none after
// the group was left.
func TestSourcesAreJoinedInTheirMode(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range []struct {
			network, file  string
			group          netip.Addr
			source, second netip.Addr
		}{
			{"udp4", "mcfilter", netip.MustParseAddr("232.1.2.3"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")},
			{"udp6", "mcfilter6", netip.MustParseAddr("ff35::1234"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::3")},
		} {
			t.Run(f.network, func(t *testing.T) {
				here := lan(t)
				m := joinIn(t, here, udp.Config{}, f.network, ":0")
				const include, exclude, neither = "1 0", "0 1", ""
				expect := func(source, second string) {
					t.Helper()
					require.Equal(t, source, kernelMode(t, here, f.file, f.group, f.source))
					require.Equal(t, second, kernelMode(t, here, f.file, f.group, f.second))
				}
				require.NoError(t, m.JoinSource(f.group, f.source))
				expect(include, neither)
				require.NoError(t, m.JoinSource(f.group, f.second))
				expect(include, include)
				require.NoError(t, m.LeaveSource(f.group, f.source))
				expect(neither, include)
				require.NoError(t, m.Join(f.group))
				expect(neither, neither)
				require.NoError(t, m.BlockSource(f.group, f.source))
				expect(exclude, neither)
				require.NoError(t, m.Leave(f.group))
				expect(neither, include)
				require.NoError(t, m.LeaveSource(f.group, f.second))
				expect(neither, neither)
			})
		}
	})
}

// filtered reports whether the kernel has a source in the filter of a group.
func filtered(t testing.TB, ns *netns.NS, file string, group, source netip.Addr) bool {
	t.Helper()
	return kernelMode(t, ns, file, group, source) != ""
}

// kernelMode returns how many sockets have a source in the filter of a group, in INCLUDE and in
// EXCLUDE mode; it is empty if none has. The files show the sources of only the first group on
// an interface.
func kernelMode(t testing.TB, ns *netns.NS, file string, group, source netip.Addr) string {
	t.Helper()
	// 1002     eth   0xef010203 0xc0000202      0      1
	form := func(a netip.Addr) string {
		if a.Is4() {
			return fmt.Sprintf("0x%x", a.AsSlice())
		}
		return fmt.Sprintf("%x", a.AsSlice())
	}
	for _, line := range lines(t, ns, file) {
		if f := strings.Fields(line); len(f) == 6 && f[2] == form(group) && f[3] == form(source) {
			return f[4] + " " + f[5]
		}
	}
	return ""
}
