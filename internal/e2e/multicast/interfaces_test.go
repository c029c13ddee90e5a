package multicast_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// A membership outlives its interface, whatever happens to the interface.
func TestMembershipOutlivesItsInterface(t *testing.T) {
	netns.Run(t, func() {
		for _, family := range []struct {
			network string
			group   netip.Addr
			source  netip.Addr
		}{
			{"udp4", netip.MustParseAddr("232.1.2.3"), netip.MustParseAddr("192.0.2.2")},
			{"udp6", netip.MustParseAddr("ff35::4321"), netip.MustParseAddr("2001:db8::2")},
		} {
			for _, specific := range []bool{false, true} {
				for _, named := range []bool{false, true} {
					name := fmt.Sprintf("%s, source-specific %v, interface named %v", family.network, specific, named)
					t.Run(name, func(t *testing.T) {
						source := netip.Addr{}
						if specific {
							source = family.source
						}
						outlives(t, family.network, family.group, source, named)
					})
				}
			}
		}
	})
}

func outlives(t *testing.T, network string, group, source netip.Addr, named bool) {
	here, there, elsewhere := netns.New(t), netns.New(t), netns.New(t)
	cable(t, here, there)
	receiver := joinIn(t, here, udp.Config{}, network, ":0")
	sender := joinIn(t, there, udp.Config{}, network, ":0")
	var ifs []*net.Interface
	if named {
		ifs = append(ifs, here.Interface("eth"))
	}
	if source.IsValid() {
		require.NoError(t, receiver.JoinSource(group, source, ifs...))
	} else {
		require.NoError(t, receiver.Join(group, ifs...))
	}
	hears(t, receiver, sender, group, "eth")

	// While the interface is removed, a membership on all interfaces is on lo.
	var without []string
	if !named {
		without = append(without, "lo")
	}
	for _, change := range []struct {
		name       string
		away, back func()
	}{
		{name: "deleted and created again with another index",
			away: func() { here.IP("link del eth") },
			back: func() { cable(t, here, there) }},
		{name: "down and up",
			away: func() { here.IP("link set eth down") },
			back: func() {
				here.IP("link set eth up")
				here.AwaitRunning("eth")
				// The IPv6 addresses are removed when the interface goes down.
				here.Try("ip", "addr", "add", "2001:db8::1/64", "dev", "eth", "nodad")
			}},
		{name: "moved to another namespace and back",
			away: func() { here.Move("eth", elsewhere) },
			back: func() {
				elsewhere.Move("eth", here)
				here.IP("link set eth up")
				here.AwaitRunning("eth")
				address(here, 1)
			}},
	} {
		change.away()
		receiver.await(t, change.name+": gone", heldOn(without...))
		require.Zero(t, kernelHas(t, here, group)["eth"])
		change.back()
		start := time.Now()
		receiver.await(t, change.name+": back", heldOn("eth"))
		require.Equal(t, map[string]int{"eth": 1}, kernelHas(t, here, group), change.name)
		hears(t, receiver, sender, group, "eth")
		t.Log(change.name, "and heard again after", time.Since(start))
	}
	sockettest.Finish(t, receiver.MulticastConn)
	require.Empty(t, kernelHas(t, here, group))
}

// A membership on a named interface follows it to another name. One on all interfaces does not
// depend on names.
func TestMembershipFollowsAnInterfaceThatIsRenamed(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			t.Run(f.network, func(t *testing.T) { followsARenaming(t, f.network, f.one) })
		}
	})
}

func followsARenaming(t *testing.T, network string, group netip.Addr) {
	here, there := linked(t)
	receiver := joinIn(t, here, udp.Config{}, network, ":0")
	sender := joinIn(t, there, udp.Config{}, network, ":0")
	require.NoError(t, receiver.Join(group, here.Interface("eth")))
	here.Rename("eth", "lan")
	receiver.await(t, "renamed", heldOn("lan"))
	require.Equal(t, map[string]int{"lan": 1}, kernelHas(t, here, group))
	hears(t, receiver, sender, group, "eth")

	// Another interface that takes the old name is not joined.
	here.IP("link add eth type bridge")
	here.IP("link set eth up")
	here.Addr("eth", "198.51.100.1/24", "2001:db8:1::1/64")
	here.IP("link del lan")
	gone := receiver.await(t, "gone", heldOn())
	require.Equal(t, []udp.InterfaceMembership{{Name: "lan", Err: gone.On[0].Err}}, gone.On)
	require.ErrorIs(t, gone.On[0].Err, syscall.ENODEV)
	require.Empty(t, kernelHas(t, here, group))

	// After a removal the last name counts.
	here.IP("link set eth down")
	here.IP("link set eth name lan")
	down := receiver.await(t, "there but down", func(m udp.Membership) bool { return m.On[0].Index != 0 })
	require.ErrorIs(t, down.On[0].Err, syscall.ENETDOWN)
	here.IP("link set lan up")
	receiver.await(t, "there", heldOn("lan"))
	require.Equal(t, map[string]int{"lan": 1}, kernelHas(t, here, group))
}

// Without an address of the group's family an interface is not joined.
func TestMembershipFollowsAddresses(t *testing.T) {
	netns.Run(t, func() {
		for i, addrs := range [][]string{
			{"192.0.2.2/24", "192.0.2.1/24", "192.0.2.77/24", "192.0.2.3/24"},
			{"2001:db8::2/64", "2001:db8::1/64", "2001:db8::77/64", "2001:db8::3/64"},
		} {
			f := ipFamilies[i]
			t.Run(f.network, func(t *testing.T) { followsAddresses(t, f.network, f.one, addrs[0], addrs[1:]) })
		}
	})
}

func followsAddresses(t *testing.T, network string, group netip.Addr, far string, near []string) {
	here, there := netns.New(t), netns.New(t)
	netns.Veth(t, here, "eth", there, "eth")
	there.Addr("eth", far)
	receiver := joinIn(t, here, udp.Config{}, network, ":0", group)
	sender := joinIn(t, there, udp.Config{}, network, ":0")
	require.True(t, heldOn("lo")(receiver.Memberships()[0]), "%+v", receiver.Memberships())

	here.Addr("eth", near[0])
	receiver.await(t, "joined", heldOn("eth"))
	hears(t, receiver, sender, group, "eth")

	// As a DHCP client does it when the network has changed.
	here.IP("addr del " + near[0] + " dev eth")
	here.Addr("eth", near[1])
	hears(t, receiver, sender, group, "eth")

	here.IP("addr del " + near[1] + " dev eth")
	receiver.await(t, "left", heldOn("lo"))
	require.Equal(t, map[string]int{"lo": 1}, kernelHas(t, here, group))
	here.Addr("eth", near[2])
	receiver.await(t, "joined again", heldOn("eth"))
	require.Equal(t, map[string]int{"eth": 1}, kernelHas(t, here, group))
	hears(t, receiver, sender, group, "eth")
}

// An interface that is deleted and created again with the same name and index has lost its
// memberships, even if it was never listed in between. No socket undoes what another one has
// already joined on the new interface.
func TestMembershipOutlivesAnInterfaceReplacedInABurst(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range []struct {
			network string
			group   netip.Addr
			sources []netip.Addr
		}{
			{"udp4", netip.MustParseAddr("232.1.2.3"), []netip.Addr{{}, netip.MustParseAddr("192.0.2.2")}},
			{"udp6", netip.MustParseAddr("ff35::4321"), []netip.Addr{{}, netip.MustParseAddr("2001:db8::2")}},
		} {
			for _, source := range f.sources {
				t.Run(fmt.Sprintf("%s, source-specific %v", f.network, source.IsValid()), func(t *testing.T) {
					replacedInABurst(t, f.network, f.group, source)
				})
			}
		}
	})
}

func replacedInABurst(t *testing.T, network string, group, source netip.Addr) {
	here, there := linked(t)
	sender := joinIn(t, there, udp.Config{}, network, ":0")
	var receivers []*member
	for range 4 {
		m := joinIn(t, here, udp.Config{}, network, ":0")
		if source.IsValid() {
			require.NoError(t, m.JoinSource(group, source))
		} else {
			require.NoError(t, m.Join(group))
		}
		receivers = append(receivers, m)
	}
	index := here.Interface("eth").Index
	here.Command("sh", "-c", fmt.Sprintf(`
		ip link del eth && ip link add eth index %d type veth peer name peer && ip link set eth addrgenmode none &&
		ip addr add 192.0.2.1/24 dev eth && ip link set eth up && ip addr add 2001:db8::1/64 nodad dev eth && ip link set peer up`, index))
	here.Move("peer", there)
	there.IP("link set peer name eth")
	there.IP("link set eth addrgenmode none")
	there.IP("link set eth up")
	address(there, 2)
	here.AwaitRunning("eth")
	require.Equal(t, index, here.Interface("eth").Index)
	for _, m := range receivers {
		m.await(t, "joined again", heldOn("eth"))
		hears(t, m, sender, group, "eth")
	}
	// The carrier came last, and then everything is joined once more.
	for i, m := range receivers {
		hears(t, m, sender, group, "eth")
		sockettest.Eventually(t, func() bool { return kernelHas(t, here, group)["eth"] == len(receivers)-i })
		sockettest.Finish(t, m.MulticastConn)
	}
	require.Empty(t, kernelHas(t, here, group))
}

// A hundred interfaces that are created at once are all joined, each once.
func TestMembershipOnAHundredInterfaces(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			t.Run(f.network, func(t *testing.T) { onAHundredInterfaces(t, f.network, f.one) })
		}
	})
}

func onAHundredInterfaces(t *testing.T, network string, group netip.Addr) {
	here := netns.New(t)
	receiver := joinIn(t, here, udp.Config{}, network, ":0", group)
	const n = 100
	address := "addr add 10.0.%d.1/24 dev eth%d"
	if group.Is6() {
		address = "addr add 2001:db8:%d::1/64 dev eth%d nodad"
	}
	var batch strings.Builder
	for i := range n {
		fmt.Fprintf(&batch, "link add eth%d type bridge\nlink set eth%d addrgenmode none\nlink set eth%d up\n", i, i, i)
		fmt.Fprintf(&batch, address+"\n", i, i)
	}
	file := filepath.Join(t.TempDir(), "batch")
	require.NoError(t, os.WriteFile(file, []byte(batch.String()), 0o600))
	start := time.Now()
	here.IP("-batch " + file)
	made, calls := time.Since(start), 0
	all := receiver.await(t, "joined everywhere", func(m udp.Membership) bool {
		calls++
		return len(m.On) == n
	})
	require.True(t, all.Held())
	took := time.Since(start)
	t.Logf("a hundred interfaces were made in %v, and joined after %v in %d steps", made, took, calls)
	// A long burst, as on a slow machine, is also handled in between, but not at each change:
	// at most every thirty milliseconds.
	require.LessOrEqual(t, calls, int(took/(30*time.Millisecond)))
	for _, on := range all.On {
		require.NoError(t, on.Err)
	}
	has := kernelHas(t, here, group)
	require.Len(t, has, n)
	for name, times := range has {
		require.Equal(t, 1, times, name)
	}
}

// An interface whose MTU becomes too small for a protocol, however briefly, has lost that
// protocol's memberships.
func TestMembershipOutlivesAnMTUTooShort(t *testing.T) {
	netns.Run(t, func() {
		for _, named := range []bool{false, true} {
			t.Run(fmt.Sprint("named ", named), func(t *testing.T) {
				here, there := linked(t)
				group := netip.MustParseAddr("ff35::4321")
				var ifs []*net.Interface
				if named {
					ifs = append(ifs, here.Interface("eth"))
				}
				var receivers []*member
				for range 2 {
					m := joinIn(t, here, udp.Config{}, "udp6", ":0")
					require.NoError(t, m.Join(group, ifs...))
					receivers = append(receivers, m)
				}
				other := joinIn(t, here, udp.Config{}, "udp4", ":0", netip.MustParseAddr("239.1.2.3"))
				sender := joinIn(t, there, udp.Config{}, "udp6", ":0")

				here.Command("sh", "-c", "ip link set eth mtu 1000; ip link set eth mtu 1500; ip addr add 2001:db8::1/64 nodad dev eth")
				for _, m := range receivers {
					hears(t, m, sender, group, "eth")
				}
				here.IP("link set eth mtu 1279")
				for _, m := range receivers {
					m.await(t, "too short", func(m udp.Membership) bool { return !heldOn("eth")(m) })
					if named {
						require.ErrorIs(t, m.Memberships()[0].On[0].Err, syscall.ENETDOWN)
					}
				}
				require.True(t, heldOn("eth")(other.Memberships()[0]))
				here.IP("link set eth mtu 1280")
				here.Addr("eth", "2001:db8::1/64")
				for _, m := range receivers {
					m.await(t, "long enough", heldOn("eth"))
					hears(t, m, sender, group, "eth")
				}
				require.Equal(t, map[string]int{"eth": 2}, kernelHas(t, here, group))
			})
		}
	})
}
