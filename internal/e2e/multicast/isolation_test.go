package multicast_test

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

var ipFamilies = []struct {
	network    string
	loopback   string
	one, other netip.Addr
}{
	{"udp4", "127.0.0.1", netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("239.1.2.4")},
	{"udp6", "::1", netip.MustParseAddr("ff15::1234"), netip.MustParseAddr("ff15::1235")},
}

// Two sockets on one port receive only the group that each has joined. One that has joined none
// receives none, whatever a socket outside the toolkit joins. The last datagram, unicast or to
// the socket's own group, shows that nothing else was received before it.
func TestGroupsOnOnePortNeverMix(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			t.Run(f.network, func(t *testing.T) {
				here := lan(t)
				cfg := udp.Config{ReuseAddr: true}
				one := joinIn(t, here, cfg, f.network, ":0", f.one)
				address := ":" + strconv.Itoa(int(one.port()))
				none := joinIn(t, here, cfg, f.network, address)
				both := joinIn(t, here, cfg, f.network, address, f.one, f.other)
				other := joinIn(t, here, cfg, f.network, address, f.other) // gets the unicast, being the last one
				here.Do(func() { joinElsewhere(t, f.network, f.one, f.other) })
				sender := joinIn(t, here, udp.Config{}, f.network, ":0")

				send := func(data string, group netip.Addr) {
					_, err := sender.SendGroup([]byte(data), group, one.port())
					require.NoError(t, err)
				}
				send("1", f.one)
				send("2", f.other)
				send("3", f.one)
				send("4", f.other)
				for _, m := range []struct {
					*member
					want []string
				}{{one, []string{"1", "3"}}, {both, []string{"1", "2", "3", "4"}}, {other, []string{"2", "4"}}} {
					for _, want := range m.want {
						require.Equal(t, want, string(sockettest.Next(t, m.queue.Datagrams()).Data))
					}
				}
				// Nothing may follow the last ones.
				require.NoError(t, none.Join(f.one))
				send("5", f.one)
				require.Equal(t, "5", string(sockettest.Next(t, none.queue.Datagrams()).Data), "it got nothing before it joined")
				require.Equal(t, "5", string(sockettest.Next(t, one.queue.Datagrams()).Data))
				require.Equal(t, "5", string(sockettest.Next(t, both.queue.Datagrams()).Data))
				send("6", f.other)
				require.Equal(t, "6", string(sockettest.Next(t, both.queue.Datagrams()).Data))
				require.Equal(t, "6", string(sockettest.Next(t, other.queue.Datagrams()).Data))
				require.Zero(t, one.Stats().KernelDrops)
				require.Zero(t, one.Stats().Dropped.Total())
				require.Zero(t, none.Stats().Dropped.Total())
			})
		}
	})
}

// joinElsewhere joins groups by a socket outside the toolkit.
func joinElsewhere(t *testing.T, network string, groups ...netip.Addr) {
	pc, err := net.ListenPacket(network, ":0")
	require.NoError(t, err)
	t.Cleanup(func() { pc.Close() })
	eth, err := net.InterfaceByName("eth")
	require.NoError(t, err)
	for _, group := range groups {
		to := &net.UDPAddr{IP: group.AsSlice()}
		if group.Is4() {
			require.NoError(t, ipv4.NewPacketConn(pc).JoinGroup(eth, to))
		} else {
			require.NoError(t, ipv6.NewPacketConn(pc).JoinGroup(eth, to))
		}
	}
}

// A datagram that the kernel queued before its group was left is dropped.
func TestADatagramOfAGroupThatWasLeft(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			here := lan(t)
			sender := joinIn(t, here, udp.Config{}, f.network, ":0")
			heard := make(chan string, 100)
			h := udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
				heard <- string(d.Data)
				if string(d.Data) != "first" {
					return
				}
				receiver, _ := c.Multicast()
				_, err := sender.SendGroup([]byte("left"), f.one, receiver.LocalAddrPort().Port())
				assert.NoError(t, err)
				assert.NoError(t, receiver.Leave(f.one))
				_, err = sender.SendGroup([]byte("kept"), f.other, receiver.LocalAddrPort().Port())
				assert.NoError(t, err)
			})
			var receiver *udp.MulticastConn
			var err error
			here.Do(func() { receiver, err = udp.ListenMulticast(t.Context(), f.network, ":0", h, f.one, f.other) })
			require.NoError(t, err)
			sockettest.CloseAtEnd(t, receiver)
			_, err = sender.SendGroup([]byte("first"), f.one, receiver.LocalAddrPort().Port())
			require.NoError(t, err)
			require.Equal(t, "first", sockettest.Next(t, heard))
			require.Equal(t, "kept", sockettest.Next(t, heard))
			require.EqualValues(t, 1, receiver.Stats().Dropped.Stranger)
		}
	})
}

// A socket whose address is a group receives that group and nothing else.
func TestASocketBoundToAGroup(t *testing.T) {
	linkLocal := netip.MustParseAddr("ff02::1234")
	netns.Run(t, func() {
		for _, c := range []struct {
			name, network, loopback string
			group, other            netip.Addr
			address                 string // that it reports
		}{
			{"IPv4", "udp4", "127.0.0.1", ipFamilies[0].one, ipFamilies[0].other, "239.1.2.3"},
			{"IPv4, by the network of either", "udp", "127.0.0.1", ipFamilies[0].one, ipFamilies[0].other, "239.1.2.3"},
			{"IPv6", "udp6", "::1", ipFamilies[1].one, ipFamilies[1].other, "ff15::1234"},
			{"IPv6 of link scope, which can't be bound", "udp6", "::1", linkLocal, ipFamilies[1].other, "::"},
		} {
			t.Run(c.name, func(t *testing.T) {
				here := lan(t)
				host := netip.AddrPortFrom(c.group, 0).String()
				bound := joinIn(t, here, udp.Config{}, c.network, host)
				require.Equal(t, c.address, bound.LocalAddrPort().Addr().String())
				require.Len(t, bound.Memberships(), 1)
				err := bound.Join(c.other)
				require.ErrorIs(t, err, syscall.EINVAL)
				sockettest.RequireOpError(t, err, "join")

				sender := joinIn(t, here, udp.Config{}, c.network, ":0", c.other)
				unicast := netip.AddrPortFrom(netip.MustParseAddr(c.loopback), bound.port())
				_ = sender.SendTo([]byte("unicast"), unicast) // may be refused: nobody is there
				_, err = sender.SendGroup([]byte("other"), c.other, bound.port())
				require.NoError(t, err)
				_, err = sender.SendGroup([]byte("group"), c.group, bound.port())
				require.NoError(t, err)
				d := sockettest.Next(t, bound.queue.Datagrams())
				require.Equal(t, "group", string(d.Data))
				require.Equal(t, scoped(c.group, "eth"), d.To().Addr())
				require.Equal(t, here.Interface("eth").Index, d.IfIndex())

				// It replies like any other socket, from an address of this host.
				require.NoError(t, d.Reply([]byte("answer")))
				answer := sockettest.Next(t, sender.queue.Datagrams())
				require.Equal(t, "answer", string(answer.Data))
				require.False(t, answer.From.Addr().IsMulticast())
			})
		}
	})
}

// The port of a socket that is bound to a group is free for unicast and other groups.
func TestSocketsBoundToGroupsShareAPort(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			here := lan(t)
			one := joinIn(t, here, udp.Config{}, f.network, netip.AddrPortFrom(f.one, 0).String())
			other := joinIn(t, here, udp.Config{}, f.network, netip.AddrPortFrom(f.other, one.port()).String())
			plain := joinIn(t, here, udp.Config{}, f.network, netip.AddrPortFrom(netip.MustParseAddr(f.loopback), one.port()).String())
			sender := joinIn(t, here, udp.Config{}, f.network, ":0")
			_, err := sender.SendGroup([]byte("one"), f.one, one.port())
			require.NoError(t, err)
			_, err = sender.SendGroup([]byte("other"), f.other, one.port())
			require.NoError(t, err)
			require.NoError(t, sender.SendTo([]byte("plain"), plain.LocalAddrPort()))
			require.Equal(t, "one", string(sockettest.Next(t, one.queue.Datagrams()).Data))
			require.Equal(t, "other", string(sockettest.Next(t, other.queue.Datagrams()).Data))
			require.Equal(t, "plain", string(sockettest.Next(t, plain.queue.Datagrams()).Data))
		}
	})
}

// scoped gives an address of link scope its zone.
func scoped(a netip.Addr, zone string) netip.Addr {
	if a.IsLinkLocalMulticast() || a.IsLinkLocalUnicast() {
		return a.WithZone(zone)
	}
	return a
}
