package reports

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Report 9: two links have the same network, and routes lead to one of them only. With
// ReplyByInterface each client gets its reply, in both families of a socket.
func TestTwoLinksWithTheSameNetwork(t *testing.T) {
	netns.Run(t, func() {
		s := netns.New(t)
		clients := []*netns.NS{netns.New(t), netns.New(t)}
		for i, c := range clients {
			device := fmt.Sprintf("s%d", i+1)
			netns.Veth(t, s, device, c, "eth")
			s.Addr(device, fmt.Sprintf("169.254.0.%d/16", 10+i))
			c.Addr("eth", fmt.Sprintf("169.254.0.%d/16", 2+i))
			s.Try("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/"+device+"/arp_filter")
		}
		for _, all := range []string{"all", "default", "s1", "s2"} {
			s.Try("sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/"+all+"/rp_filter")
			s.Try("sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/"+all+"/arp_filter")
		}
		for _, network := range []string{"udp4", "udp"} {
			server := listen(t, s, udp.Config{ReplyByInterface: true}, network, ":0", echo(t))
			for i, ns := range clients {
				c := listen(t, ns, udp.Config{}, "udp4", ":0", nil)
				at := server.at(fmt.Sprintf("169.254.0.%d", 10+i))
				require.Equal(t, at, asks(t, c, func(q string) error { return c.SendTo([]byte(q), at) }).from)
			}
		}
	})
}

// Report 9: the route to the client is in a table that is used for packets of its link only,
// as with VRFs and policy routing. Without ReplyByInterface there is no route.
func TestAClientBehindAnotherTable(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		l.c.Addr("lo", "203.0.113.9/32")
		l.s.IP("route add 203.0.113.0/24 via 10.0.2.2 dev s2 table 2")
		l.s.IP("rule add oif s2 table 2")
		for _, by := range []bool{false, true} {
			errs := make(chan error, 1)
			server := listen(t, l.s, udp.Config{ReplyByInterface: by}, "udp", ":0", func(d udp.Datagram) { errs <- d.Reply(d.Data) })
			l.s.Try("sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done")
			c := listen(t, l.c, udp.Config{}, "udp4", "203.0.113.9:0", nil)
			require.NoError(t, c.SendTo([]byte("q"), server.at("10.0.2.1")))
			err := sockettest.Next(t, errs)
			if !by {
				require.ErrorIs(t, err, unix.ENETUNREACH)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, server.at("10.0.2.1"), sockettest.Next(t, c.got).from)
		}
	})
}

// Report 13: replies leave from addresses that are local by a route only, and from the
// subnet-router anycast address of IPv6 (RFC 4291, section 2.6.1), which routers have.
func TestAddressesThatAreLocalByRoute(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		l.ipv6()
		l.s.IP("route add local 192.0.2.0/24 dev lo")
		l.s.IP("-6 route add local 2001:db8::/64 dev lo")
		l.c.IP("route add 192.0.2.0/24 via 10.0.1.1")
		l.c.IP("-6 route add 2001:db8::/64 via fd00:1::1")
		l.s.Command("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
		for _, address := range []string{"192.0.2.77", "2001:db8::77", "fd00:1::"} {
			server := listen(t, l.s, udp.Config{}, "udp", ":0", echo(t))
			c := listen(t, l.c, udp.Config{}, "udp", ":0", nil)
			require.NoError(t, c.SendTo([]byte("q"), server.at(address)))
			require.Equal(t, server.at(address), sockettest.Next(t, c.got).from)
			require.Equal(t, server.at(address), sockettest.Next(t, server.got).to)
		}
	})
}

// Report 14: a client with a global address asks a link-local one. The reply has to name its
// interface.
func TestALinkLocalAddressAskedByAGlobalOne(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		l.ipv6()
		for _, network := range []string{"udp6", "udp"} {
			server := listen(t, l.s, udp.Config{}, network, ":0", echo(t))
			c := listen(t, l.c, udp.Config{}, "udp6", "[fd00:1::2]:0", nil)
			require.NoError(t, c.SendTo([]byte("q"), server.at("fe80::1%c1")))
			require.Equal(t, server.at("fe80::1%c1"), sockettest.Next(t, c.got).from)
			require.Equal(t, server.at("fe80::1%s1"), sockettest.Next(t, server.got).to)

			n, err := server.SendBatch([]udp.Message{{Data: []byte("own"), To: c.LocalAddrPort(), From: netip.MustParseAddr("fe80::1%s1")}})
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.Equal(t, server.at("fe80::1%c1"), sockettest.Next(t, c.got).from)
		}
	})
}

// Report 16: the address that was asked is removed before the reply: the reply leaves from
// another one, or fails with an error that says so. It is never sent from a dead address.
func TestAReplyFromAnAddressThatWasRemoved(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		l.ipv6()
		l.s.Addr("s1", "10.0.1.9/24", "fd00:1::9/64")
		server := listen(t, l.s, udp.Config{}, "udp", ":0", nil)
		datagrams := make(chan udp.Datagram, 1)
		keeps := listen(t, l.s, udp.Config{}, "udp", ":0", func(d udp.Datagram) { datagrams <- d.Clone() })
		c := listen(t, l.c, udp.Config{}, "udp", ":0", nil)
		for _, address := range []string{"10.0.1.9/24", "fd00:1::9/64"} {
			at := keeps.at(netip.MustParsePrefix(address).Addr().String())
			require.NoError(t, c.SendTo([]byte("q"), at))
			d := sockettest.Next(t, datagrams)
			l.s.IP("addr del " + address + " dev s1")
			err := d.Reply([]byte("reply"))
			require.True(t, errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENETUNREACH), "%s: %v", address, err)
			require.NoError(t, server.SendTo([]byte("alive"), netip.AddrPortFrom(netip.MustParseAddr("10.0.1.2"), c.port())))
			require.Equal(t, "alive", sockettest.Next(t, c.got).data, "nothing came before it")
		}
		require.Equal(t, uint64(0), server.Stats().SendErrors)
	})
}

// Report 17: a socket that is bound to a device hears again once the device was removed
// and created again under the same name, with another index.
func TestADeviceThatWasCreatedAgain(t *testing.T) {
	netns.Run(t, func() {
		s := netns.New(t)
		group := netip.MustParseAddr("239.1.2.3")
		c := plug(t, s, "192.0.2.1/24", "fe80::1/64")
		member := in(t, s, nil, func(h udp.Handler) (*udp.Conn, error) {
			m, err := udp.Config{Device: "v0"}.ListenMulticast(context.Background(), "udp4", ":0", h, group)
			if err != nil {
				return nil, err
			}
			return m.Conn, nil
		})
		server := listen(t, s, udp.Config{Device: "v0"}, "udp", ":0", echo(t))
		client := dial(t, s, udp.Config{Device: "v0"}, "192.0.2.2:7")
		linkLocal := listen(t, s, udp.Config{}, "udp6", "[fe80::1%v0]:0", echo(t))
		toLinkLocal := dial(t, s, udp.Config{}, "[fe80::2%v0]:8")
		for i := range 3 {
			if i > 0 {
				s.IP("link del v0")
				c = plug(t, s, "192.0.2.1/24", "fe80::1/64")
			}
			for name, at := range map[string]netip.AddrPort{
				"unicast": member.at("192.0.2.1"), "group": member.at("239.1.2.3"),
			} {
				from := in(t, c, nil, func(h udp.Handler) (*udp.Conn, error) {
					m, err := udp.ListenMulticast(context.Background(), "udp4", "192.0.2.2:0", h)
					return m.Conn, err
				})
				r := asks(t, member, func(q string) error { return from.SendTo([]byte(q), at) })
				require.Equal(t, s.Interface("v0").Index, r.ifIndex, name)
			}
			asker, asker6 := listen(t, c, udp.Config{}, "udp4", ":0", nil), listen(t, c, udp.Config{}, "udp6", ":0", nil)
			require.Equal(t, server.at("192.0.2.1"), asks(t, asker, func(q string) error {
				return asker.SendTo([]byte(q), server.at("192.0.2.1"))
			}).from)
			peer := listen(t, c, udp.Config{}, "udp4", ":7", nil)
			require.Equal(t, client.port(), asks(t, peer, client.send).from.Port())
			require.Equal(t, linkLocal.port(), asks(t, asker6, func(q string) error {
				return asker6.SendTo([]byte(q), linkLocal.at("fe80::1%eth"))
			}).from.Port())
			peer6 := listen(t, c, udp.Config{}, "udp6", ":8", nil)
			require.Equal(t, toLinkLocal.at("fe80::1%eth"), asks(t, peer6, toLinkLocal.send).from)
			if i > 0 {
				require.EqualValues(t, i, server.Stats().Rebinds)
			}
		}
	})
}

// A socket with a peer follows its device before that has an address: it takes a source
// address as soon as there is one.
func TestADeviceThatIsCreatedBeforeItsAddress(t *testing.T) {
	netns.Run(t, func() {
		s := netns.New(t)
		plug(t, s)
		s.Addr("v0", "192.0.2.1/24")
		client := dial(t, s, udp.Config{Device: "v0"}, "192.0.2.2:7")
		for range 2 {
			before := client.Stats().Rebinds
			s.IP("link del v0")
			c := plug(t, s)
			sockettest.Eventually(t, func() bool { return client.Stats().Rebinds > before })
			s.Addr("v0", "192.0.2.1/24")
			peer := listen(t, c, udp.Config{}, "udp4", ":7", nil)
			require.Equal(t, client.at("192.0.2.1"), asks(t, peer, client.send).from)
		}
	})
}
