package multicast_test

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Sockets of one process in several namespaces each follow their own, on any thread. A monitor
// ends with the last socket of its namespace.
func TestEachNamespaceIsWatchedOnItsOwn(t *testing.T) {
	netns.Run(t, func() {
		files := netlinkSockets(t)
		group := netip.MustParseAddr("239.1.2.3")
		one, two := netns.New(t), netns.New(t)
		cable(t, one, two)
		inOne := joinIn(t, one, udp.Config{}, "udp4", ":0", group)
		alone := netlinkSockets(t)
		require.Equal(t, files+2, alone)
		alsoInOne := joinIn(t, one, udp.Config{}, "udp4", ":0", group)
		require.Equal(t, alone, netlinkSockets(t), "one monitor for a namespace")
		inTwo := joinIn(t, two, udp.Config{}, "udp4", ":0", group)
		require.Equal(t, files+4, netlinkSockets(t))

		one.Rename("eth", "other")
		inOne.await(t, "renamed", heldOn("other"))
		alsoInOne.await(t, "renamed", heldOn("other"))
		require.True(t, heldOn("eth")(inTwo.Memberships()[0]))
		two.Rename("eth", "third")
		inTwo.await(t, "renamed", heldOn("third"))
		require.Empty(t, inOne.changes, "what happens elsewhere is not its business")

		sockettest.Finish(t, inOne.MulticastConn)
		require.Equal(t, files+4, netlinkSockets(t), "there is another one")
		sockettest.Finish(t, alsoInOne.MulticastConn)
		sockettest.Finish(t, inTwo.MulticastConn)
		require.Equal(t, files, netlinkSockets(t))
	})
}

// netlinkSockets counts the netlink sockets of this process, in any namespace.
func netlinkSockets(t testing.TB) int {
	t.Helper()
	return countSockets(t, func(fd string) bool {
		family, err := socketFamily(fd)
		return err == nil && family == syscall.AF_NETLINK
	})
}

// Memberships and multicast options outlive a change of the peer, and changes of the interface
// meanwhile. While it has a peer, only a socket that is bound to the group receives the group:
// connect(2) gives any other socket a single local address.
func TestMembershipOutlivesAReconnect(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			for _, specific := range []bool{false, true} {
				for _, bound := range []bool{false, true} {
					name := fmt.Sprintf("%s, source-specific %v, bound to the group %v", f.network, specific, bound)
					t.Run(name, func(t *testing.T) { outlivesReconnect(t, f.network, f.one, specific, bound) })
				}
			}
		}
	})
}

func outlivesReconnect(t *testing.T, network string, group netip.Addr, specific, bound bool) {
	here, there := linked(t)
	near, far := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if group.Is6() {
		near, far = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	}
	there.Addr("eth", netip.PrefixFrom(far.Next(), map[bool]int{true: 24, false: 64}[far.Is4()]).String())
	address, groups := ":0", []netip.Addr{group}
	if bound {
		address = net.JoinHostPort(group.String(), "0")
	}
	if specific {
		groups = nil
	}
	receiver := joinIn(t, here, udp.Config{}, network, address, groups...)
	if specific {
		if bound { // which has joined it
			require.NoError(t, receiver.Leave(group))
		}
		require.NoError(t, receiver.JoinSource(group, far))
		require.NoError(t, receiver.JoinSource(group, far.Next()))
	}
	require.NoError(t, receiver.SetMulticastTTL(7))
	require.NoError(t, receiver.SetMulticastLoopback(false))
	require.NoError(t, receiver.SetMulticastInterface(here.Interface("eth")))
	first := joinIn(t, there, udp.Config{}, network, netip.AddrPortFrom(far, 0).String())
	second := joinIn(t, there, udp.Config{}, network, netip.AddrPortFrom(far.Next(), 0).String())
	joined := receiver.Memberships()

	// holds is called after each change of the peer.
	holds := func(from *member) {
		t.Helper()
		require.Equal(t, map[string]int{"eth": 1}, kernelHas(t, here, group))
		require.Equal(t, joined, receiver.Memberships())
		ttl, err := receiver.MulticastTTL()
		require.NoError(t, err)
		require.Equal(t, 7, ttl)
		loop, err := receiver.MulticastLoopback()
		require.NoError(t, err)
		require.False(t, loop)
		ifi, err := receiver.MulticastInterface()
		require.NoError(t, err)
		require.Equal(t, "eth", ifi.Name)
		if _, connected := receiver.Connected(); bound || !connected {
			hears(t, receiver, from, group, "eth")
			return
		}
		tag := fmt.Sprint("from ", from.LocalAddrPort())
		_, err = from.SendGroup([]byte("not heard"), group, receiver.port(), there.Interface("eth"))
		require.NoError(t, err)
		require.NoError(t, from.SendTo([]byte(tag), netip.AddrPortFrom(near, receiver.port())))
		require.Equal(t, tag, string(sockettest.Next(t, receiver.queue.Datagrams()).Data))
	}
	c, err := receiver.Connect(first.LocalAddrPort())
	require.NoError(t, err)
	holds(first)
	for _, peer := range []*member{second, first, second} {
		require.NoError(t, c.Reconnect(peer.LocalAddrPort()))
		holds(peer)
	}
	here.IP("link set eth down")
	for range joined {
		receiver.await(t, "down", heldOn("lo"))
	}
	here.IP("link set eth up")
	here.AwaitRunning("eth")
	if near.Is6() { // which was removed with the link
		here.Addr("eth", near.String()+"/64")
	}
	for range joined {
		receiver.await(t, "up", heldOn("eth"))
	}
	if bound {
		hears(t, receiver, second, group, "eth")
	}
	_, err = c.Disconnect()
	require.NoError(t, err)
	holds(second)
	if group.Is4() { // over IPv6 Linux still receives from the last peer only: see Disconnect
		holds(first)
	}
}

// The outgoing interface is set again after it was created again.
func TestSetInterfaceOutlivesTheInterface(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			here, there := linked(t)
			netns.Veth(t, here, "other", here, "end")
			here.Addr("other", "198.51.100.1/24", "2001:db8:1::1/64")
			receiver := joinIn(t, there, udp.Config{}, f.network, ":0", f.one)
			sender := joinIn(t, here, udp.Config{}, f.network, ":0", f.other) // to see the changes
			require.NoError(t, sender.SetMulticastInterface(here.Interface("eth")))
			index := here.Interface("eth").Index
			to := netip.AddrPortFrom(f.one, receiver.port())
			require.NoError(t, sender.SendTo([]byte("before"), to))
			require.Equal(t, "before", string(sockettest.Next(t, receiver.queue.Datagrams()).Data))

			here.IP("link del eth")
			sender.await(t, "gone", heldOn("other"))
			_, err := sender.MulticastInterface()
			require.ErrorIs(t, err, syscall.ENODEV)
			require.ErrorIs(t, sender.SendTo([]byte("nowhere"), to), syscall.ENODEV, "not by another one")

			// Nor by another one that gets its index.
			here.IP(fmt.Sprintf("link add wan index %d type veth peer name peer", index))
			here.Move("peer", there)
			there.IP("link set peer name eth")
			address(there, 2)
			there.IP("link set eth up")
			here.IP("link set wan up")
			here.Addr("wan", "203.0.113.1/24", "2001:db8:5::1/64")
			sender.await(t, "another", heldOn("wan", "other"))
			require.ErrorIs(t, sender.SendTo([]byte("nowhere"), to), syscall.ENODEV)
			here.IP("link del wan")
			sender.await(t, "gone", heldOn("other"))

			cable(t, here, there)
			sender.await(t, "back", func(m udp.Membership) bool { return len(m.On) == 2 })
			receiver.await(t, "back", heldOn("eth"))
			ifi, err := sender.MulticastInterface()
			require.NoError(t, err)
			require.Equal(t, here.Interface("eth").Index, ifi.Index)
			require.NoError(t, sender.SendTo([]byte("after"), to))
			require.Equal(t, "after", string(sockettest.Next(t, receiver.queue.Datagrams()).Data))
		}
	})
}

// With a filter, "all interfaces" are those that it selects.
func TestInterfaceFilter(t *testing.T) {
	netns.Run(t, func() {
		here := lan(t)
		cfg := udp.Config{InterfaceFilter: func(ifi *net.Interface) bool { return !strings.HasPrefix(ifi.Name, "docker") }}
		group := netip.MustParseAddr("239.1.2.3")
		m := joinIn(t, here, cfg, "udp4", ":0", group)
		require.True(t, heldOn("eth")(m.Memberships()[0]))
		for i, name := range []string{"docker0", "wlan"} {
			netns.Veth(t, here, name, here, name+"end")
			here.Addr(name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 24).String())
		}
		m.await(t, "joined on one of them", heldOn("eth", "wlan"))
		require.Equal(t, map[string]int{"eth": 1, "wlan": 1}, kernelHas(t, here, group))
		// The filter does not apply to named interfaces.
		require.NoError(t, m.Join(group.Next(), here.Interface("docker0")))
		require.Equal(t, map[string]int{"docker0": 1}, kernelHas(t, here, group.Next()))
		// If it selects none, nothing is joined.
		here.IP("link set eth down")
		here.IP("link set wlan down")
		m.await(t, "on loopback", heldOn("lo"))
	})
}

// SendGroup sends on every interface and returns the result of each.
func TestSendGroup(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			here, left, right := netns.New(t), netns.New(t), netns.New(t)
			netns.Veth(t, here, "left", left, "eth")
			netns.Veth(t, here, "right", right, "eth")
			here.Addr("left", "192.0.2.1/24", "fe80::1/64")
			here.Addr("right", "198.51.100.1/24", "fe80::1/64")
			address(left, 2)
			address(right, 2)
			l := joinIn(t, left, udp.Config{ReuseAddr: true}, f.network, ":0", f.one)
			r := joinIn(t, right, udp.Config{}, f.network, ":"+strconv.Itoa(int(l.port())), f.one)
			m := joinIn(t, here, udp.Config{}, f.network, ":0", f.one)
			require.NoError(t, m.SetMulticastLoopback(false))
			sent, err := m.SendGroup([]byte("both"), f.one, l.port())
			require.NoError(t, err)
			require.Equal(t, []udp.GroupSend{
				{Name: "left", Index: here.Interface("left").Index}, {Name: "right", Index: here.Interface("right").Index},
			}, sent)
			for _, q := range []*member{l, r} {
				d := sockettest.Next(t, q.queue.Datagrams())
				require.Equal(t, "both", string(d.Data))
				if f.one.Is6() {
					require.Equal(t, "fe80::1", d.From.Addr().WithZone("").String())
				}
			}

			// One interface that fails is reported, and the other one is used.
			here.IP("link set right down")
			m.await(t, "down", heldOn("left"))
			gone := here.Interface("right")
			sent, err = m.SendGroup([]byte("one"), f.one, l.port(), here.Interface("left"), gone)
			require.NoError(t, err)
			require.NoError(t, sent[0].Err)
			require.ErrorIs(t, sent[1].Err, syscall.ENETDOWN)
			require.Equal(t, "one", string(sockettest.Next(t, l.queue.Datagrams()).Data))
			_, err = m.SendGroup([]byte("none"), f.one, l.port(), gone)
			sockettest.RequireOpError(t, err, "send")
			require.ErrorIs(t, err, syscall.ENETDOWN)

			// Without a membership it is sent where Join would join.
			require.NoError(t, m.Leave(f.one))
			sent, err = m.SendGroup([]byte("unjoined"), f.one, l.port())
			require.NoError(t, err)
			require.Len(t, sent, 1)
			require.Equal(t, "unjoined", string(sockettest.Next(t, l.queue.Datagrams()).Data))
			_, err = m.SendGroup(nil, netip.MustParseAddr("192.0.2.9"), 1)
			sockettest.RequireOpError(t, err, "send")
		}
	})
}

// socketFamily returns the family of a socket of this process.
func socketFamily(fd string) (int, error) {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return 0, err
	}
	return unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_DOMAIN)
}
