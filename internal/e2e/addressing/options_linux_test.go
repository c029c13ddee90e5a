package addressing_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Two links have the same network: only the interface distinguishes them.
func TestAMessageLeavesByItsInterface(t *testing.T) {
	netns.Run(t, func() {
		server := netns.New(t)
		type client struct {
			*udp.Conn
			received chan string
			device   string
		}
		var clients []client
		for _, device := range []string{"one", "two"} {
			there := netns.New(t)
			netns.Veth(t, server, device, there, "peer")
			server.Addr(device, "169.254.0.1/16", "fe80::1/64")
			there.Addr("peer", "169.254.0.2/16", "fe80::2/64")
			for _, address := range []string{"169.254.0.2:7", "[fe80::2%peer]:7"} {
				received := make(chan string, 10)
				h := udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
					received <- d.From.Addr().WithZone("").String() + " " + string(d.Data)
				})
				clients = append(clients, client{sockettest.ListenIn(t, there, udp.Config{}, "udp", address, h), received, device})
			}
		}
		for _, local := range []string{"", "169.254.0.1"} {
			c := sockettest.ListenIn(t, server, udp.Config{}, "udp", local+":0", udp.BaseHandler{})
			for _, cl := range clients {
				to := netip.AddrPortFrom(cl.LocalAddrPort().Addr().WithZone(""), 7)
				if to.Addr().Is6() && local != "" {
					continue
				}
				source := netip.MustParseAddr("fe80::1")
				if to.Addr().Is4() {
					source = netip.MustParseAddr("169.254.0.1")
				}
				ifi := server.Interface(cl.device)
				for _, from := range []netip.Addr{{}, source} {
					m := udp.Message{Data: []byte(cl.device), To: to, From: from, IfIndex: ifi.Index}
					n, err := c.SendBatch([]udp.Message{m, m})
					require.NoError(t, err)
					require.Equal(t, 2, n)
					for range 2 {
						require.Equal(t, source.String()+" "+cl.device, sockettest.Next(t, cl.received))
					}
				}
			}
		}
	})
}

// A message that names an interface leaves from the address of its bound or connected socket,
// although Linux chooses another one if only the interface is named.
func TestAnInterfaceDoesNotChangeTheSource(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "left", there, "right")
		here.Addr("left", "192.0.2.1/24", "192.0.2.77/24")
		there.Addr("right", "192.0.2.2/24")
		from := make(chan netip.AddrPort, 10)
		r := sockettest.ListenIn(t, there, udp.Config{}, "udp4", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { from <- d.From }))
		to := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), r.LocalAddrPort().Port())
		c := sockettest.ListenIn(t, here, udp.Config{}, "udp4", "192.0.2.77:0", udp.BaseHandler{})
		index := here.Interface("left").Index
		_, err := c.SendBatch([]udp.Message{{To: to, IfIndex: index}})
		require.NoError(t, err)
		require.Equal(t, c.LocalAddrPort(), sockettest.Next(t, from))
		_, err = c.Connect(to)
		require.NoError(t, err)
		_, err = c.SendBatch([]udp.Message{{IfIndex: index}})
		require.NoError(t, err)
		require.Equal(t, c.LocalAddrPort(), sockettest.Next(t, from))
	})
}

func TestOptionsThatNeedAnotherNetwork(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "left", there, "right")
		here.Addr("left", "192.0.2.1/24")
		there.Addr("right", "192.0.2.2/24")
		from := make(chan netip.AddrPort, 10)
		r := sockettest.ListenIn(t, there, udp.Config{}, "udp4", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { from <- d.From }))
		there.IP("route add 198.51.100.0/24 via 192.0.2.1")
		to := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), r.LocalAddrPort().Port())

		t.Run("Device", func(t *testing.T) {
			c := sockettest.ListenIn(t, here, udp.Config{Device: "left"}, "udp4", ":0", udp.BaseHandler{})
			require.Equal(t, here.Interface("left").Index, sockettest.Option(t, c, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX))
			require.NoError(t, c.SendTo(nil, to))
			sockettest.Next(t, from)
			here.Do(func() {
				for _, name := range []string{"nosuch", "left4567890123456"} {
					_, err := udp.Config{Device: name}.Listen(context.Background(), "udp4", ":0", udp.BaseHandler{})
					require.ErrorIs(t, err, unix.ENODEV)
					require.ErrorContains(t, err, "Device")
				}
			})
		})
		t.Run("Mark", func(t *testing.T) {
			here.IP("rule add fwmark 0xfffffff1 table 7")
			here.IP("route add 203.0.113.0/24 via 192.0.2.2 dev left table 7")
			there.Addr("lo", "203.0.113.1/32")
			marked := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), to.Port())
			plain := sockettest.ListenIn(t, here, udp.Config{}, "udp4", ":0", udp.BaseHandler{})
			require.ErrorIs(t, plain.SendTo(nil, marked), unix.ENETUNREACH)
			c := sockettest.ListenIn(t, here, udp.Config{Mark: 0xfffffff1}, "udp4", ":0", udp.BaseHandler{})
			require.NoError(t, c.SendTo(nil, marked))
			sockettest.Next(t, from)
		})
		t.Run("FreeBind", func(t *testing.T) {
			here.Do(func() {
				_, err := udp.Listen(context.Background(), "udp4", "198.51.100.9:0", udp.BaseHandler{})
				require.ErrorIs(t, err, unix.EADDRNOTAVAIL)
				if needsIPv6(t) {
					c, err := udp.Config{FreeBind: true}.Listen(context.Background(), "udp6", "[2001:db8::9]:0", udp.BaseHandler{})
					require.NoError(t, err)
					sockettest.Stop(t, c)
				}
			})
			c := sockettest.ListenIn(t, here, udp.Config{FreeBind: true}, "udp4", "198.51.100.9:0", udp.BaseHandler{})
			here.IP("addr add 198.51.100.9/32 dev left") // later
			require.NoError(t, c.SendTo(nil, to))
			require.Equal(t, c.LocalAddrPort(), sockettest.Next(t, from))
		})
		t.Run("LocalAddr", func(t *testing.T) {
			here.Addr("left", "192.0.2.10/24")
			here.Do(func() {
				local := netip.MustParseAddrPort("192.0.2.10:4321")
				c, err := udp.Config{LocalAddr: local}.Dial(context.Background(), "udp", to.String(), udp.BaseHandler{})
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c.Conn)
				require.Equal(t, local, c.LocalAddrPort())
				require.NoError(t, c.Send(nil))
				require.Equal(t, local, sockettest.Next(t, from))
				_, err = udp.Config{LocalAddr: netip.MustParseAddrPort("[::1]:4321")}.Dial(context.Background(), "udp", to.String(), udp.BaseHandler{})
				require.ErrorIs(t, err, udp.ErrFamily)
				c, err = udp.Config{LocalAddr: netip.MustParseAddrPort("[::]:4322")}.Dial(context.Background(), "udp", to.String(), udp.BaseHandler{})
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c.Conn)
				require.Equal(t, netip.MustParseAddrPort("192.0.2.1:4322"), c.LocalAddrPort())
			})
		})
		t.Run("Transparent", func(t *testing.T) {
			here.IP("route add local 198.51.100.0/24 dev lo") // as a TPROXY set-up has
			received := make(chan netip.AddrPort, 10)
			s := sockettest.ListenIn(t, here, udp.Config{Transparent: true}, "udp", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				received <- d.To()
				_ = d.Reply(d.Data)
			}))
			at := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.200"), s.LocalAddrPort().Port())
			require.NoError(t, r.SendTo([]byte("x"), at))
			require.Equal(t, at, sockettest.Next(t, received))
			require.Equal(t, at, sockettest.Next(t, from), "the address that the sender meant")
		})
		t.Run("MTUDiscovery", func(t *testing.T) {
			here.IP("route add 192.0.2.2/32 dev left mtu 1000") // as after a forged "fragmentation needed"
			send := func(mode udp.MTUDiscovery, n int) error {
				c := sockettest.ListenIn(t, here, udp.Config{MTUDiscovery: mode}, "udp4", ":0", udp.BaseHandler{})
				err := c.SendTo(make([]byte, n), to)
				if err == nil {
					sockettest.Next(t, from)
				}
				return err
			}
			var tooLong *udp.SizeError
			here.IP("rule add fwmark 9 table 9")
			here.IP("route add 192.0.2.2/32 dev left mtu 900 table 9")
			marked := sockettest.ListenIn(t, here, udp.Config{Mark: 9, MTUDiscovery: udp.MTUDiscoveryDo}, "udp4", ":0", udp.BaseHandler{})
			require.ErrorAs(t, marked.SendTo(make([]byte, 950), to), &tooLong)
			require.Equal(t, 900, tooLong.MTU, "of the route that the mark leads to")
			require.NoError(t, send(udp.MTUDiscoveryDefault, 1200))
			require.ErrorAs(t, send(udp.MTUDiscoveryDo, 1200), &tooLong)
			require.Equal(t, 1000, tooLong.MTU)
			here.Do(func() { // one attempt, even if the error may be an older datagram's
				c, err := udp.Config{MTUDiscovery: udp.MTUDiscoveryDo}.Dial(context.Background(), "udp4", to.String(), udp.BaseHandler{})
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c.Conn)
				require.ErrorAs(t, c.Send(make([]byte, 1200)), &tooLong)
				require.Equal(t, 1000, tooLong.MTU)
				require.Zero(t, c.Stats().Retried)
				require.EqualValues(t, 1, c.Stats().SendErrors)
			})
			require.NoError(t, send(udp.MTUDiscoveryProbe, 1200))
			require.ErrorIs(t, send(udp.MTUDiscoveryProbe, 2000), udp.ErrTooLarge)
			require.NoError(t, send(udp.MTUDiscoveryOmit, 2000))
		})
	})
}

// needsIPv6 reports whether this kernel has IPv6.
func needsIPv6(t *testing.T) bool { return len(sockettest.Networks(t)) == 2 }

// An IPv6 prefix may be this host's by a route only, as anycast prefixes are. Replies
// leave from such an address. No datagram leaves from an address that this host does not
// have, except with FreeBind.
func TestRepliesLeaveFromAddressesThatAreLocalByRoute(t *testing.T) {
	netns.Run(t, func() { repliesFromLocalRoutes(t) })
}

func repliesFromLocalRoutes(t *testing.T) {
	ns := netns.New(t)
	ns.Addr("lo", "2001:db8::1/128")
	ns.IP("-6 route add local 2001:db8:1::/64 dev lo")
	at := netip.MustParseAddr("2001:db8:1::5")
	for _, free := range []bool{false, true} {
		errs := make(chan error, 10)
		s := sockettest.ListenIn(t, ns, udp.Config{FreeBind: free}, "udp", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			errs <- d.Reply(d.Data)
		}))
		from := make(chan netip.AddrPort, 10)
		c := sockettest.ListenIn(t, ns, udp.Config{}, "udp6", "[2001:db8::1]:0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { from <- d.From }))
		to := netip.AddrPortFrom(at, s.LocalAddrPort().Port())
		ms := make([]udp.Message, 10) // in one read, so that the replies are a batch
		for i := range ms {
			ms[i] = udp.Message{Data: []byte("x"), To: to}
		}
		_, err := c.SendBatch(ms)
		require.NoError(t, err)
		for range ms {
			err := sockettest.Next(t, errs)
			if !free && s.Info().Batch == 1 { // the portable path
				require.ErrorIs(t, err, unix.EINVAL)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, to, sockettest.Next(t, from))
		}
		require.Equal(t, free, sockettest.Option(t, s, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND) == 1)

		foreign := udp.Message{Data: []byte("x"), To: c.LocalAddrPort(), From: netip.MustParseAddr("2001:db8:2::1")}
		if _, err = s.SendBatch([]udp.Message{foreign}); free {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, unix.EINVAL)
		}
	}
}

// The options of a socket stay while its peer changes.
func TestOptionsOutliveThePeer(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "left", there, "right")
		here.Addr("left", "2001:db8::1/64", "fe80::1/64")
		index := here.Interface("left").Index
		cfg := udp.Config{Device: "left", Mark: 5, TTL: 9, TrafficClass: 0x20, MTUDiscovery: udp.MTUDiscoveryProbe}
		here.Do(func() {
			c, err := cfg.Dial(context.Background(), "udp6", "[2001:db8::2]:7", udp.BaseHandler{})
			require.NoError(t, err)
			sockettest.CloseAtEnd(t, c.Conn)
			check := func(when string) {
				t.Helper()
				for _, o := range []struct{ level, name, value int }{
					{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index}, {unix.SOL_SOCKET, unix.SO_MARK, 5},
					{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 9}, {unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 0x20},
					{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
				} {
					require.Equal(t, o.value, sockettest.Option(t, c.Conn, o.level, o.name), when)
				}
			}
			check("Dial")
			for _, peer := range []string{"[2001:db8::3]:7", "[fe80::2%left]:7", "[2001:db8::3]:8"} {
				require.NoError(t, c.Reconnect(netip.MustParseAddrPort(peer)))
				check("Reconnect")
			}
			require.Error(t, c.Reconnect(netip.MustParseAddrPort("[fe80::2%lo]:7")), "another device")
			check("Reconnect that failed")
			_, err = c.Disconnect()
			require.NoError(t, err)
			check("Disconnect")
		})
	})
}

// A broadcast leaves by the interface that the message names, from an address of it.
func TestABroadcastLeavesByItsInterface(t *testing.T) {
	netns.Run(t, func() {
		here := netns.New(t)
		received := make(chan string, 10)
		for i, device := range []string{"one", "two"} {
			there := netns.New(t)
			netns.Veth(t, here, device, there, "peer")
			here.Addr(device, fmt.Sprintf("192.0.%d.1/24", 2+i))
			there.Addr("peer", fmt.Sprintf("192.0.%d.2/24", 2+i))
			sockettest.ListenIn(t, there, udp.Config{}, "udp4", ":7", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				received <- device + " " + d.From.Addr().String()
			}))
		}
		here.IP("route add default dev one")
		to := netip.MustParseAddrPort("255.255.255.255:7")
		for _, network := range []string{"udp4", "udp"} {
			c := sockettest.ListenIn(t, here, udp.Config{Broadcast: true}, network, ":0", udp.BaseHandler{})
			for i, device := range []string{"one", "two"} {
				m := udp.Message{Data: []byte("x"), To: to, IfIndex: here.Interface(device).Index}
				n, err := c.SendBatch([]udp.Message{m})
				require.NoError(t, err)
				require.Equal(t, 1, n)
				require.Equal(t, fmt.Sprintf("%s 192.0.%d.1", device, 2+i), sockettest.Next(t, received))
			}
		}
	})
}
