package addressing_test

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// A Reconnect to a peer behind another interface leaves from that interface's
// address; the port stays.
//
// Twisted: C2
func TestReconnectBehindAnotherInterface(t *testing.T) {
	for _, test := range []struct{ name, network, net1, net2, bits string }{
		{"IPv4", "udp4", "192.0.2.", "198.51.100.", "/24"},
		{"IPv6", "udp6", "2001:db8:1::", "2001:db8:2::", "/64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			netns.Run(t, func() {
				here, left, right := netns.New(t), netns.New(t), netns.New(t)
				netns.Veth(t, here, "left", left, "eth0")
				netns.Veth(t, here, "right", right, "eth0")
				here.Addr("left", test.net1+"1"+test.bits)
				here.Addr("right", test.net2+"1"+test.bits)
				left.Addr("eth0", test.net1+"2"+test.bits)
				right.Addr("eth0", test.net2+"2"+test.bits)

				h, servers := sockettest.NewRecorder(), sockettest.NewRecorder()
				var peers []*udp.Conn
				for i, ns := range []*netns.NS{left, right} {
					ns.Do(func() {
						p, err := udp.Listen(t.Context(), test.network, net.JoinHostPort([]string{test.net1, test.net2}[i]+"2", "0"), servers)
						require.NoError(t, err)
						sockettest.CloseAtEnd(t, p)
						peers = append(peers, p)
					})
					servers.Next(t, "Started")
				}
				dialled := map[string]func() *udp.ConnectedConn{
					"dialled": func() *udp.ConnectedConn {
						c, err := udp.Dial(t.Context(), "udp", peers[0].LocalAddrPort().String(), h)
						require.NoError(t, err)
						return c
					},
					"connected after Listen": func() *udp.ConnectedConn {
						c, err := udp.Listen(t.Context(), test.network, ":0", h)
						require.NoError(t, err)
						cc, err := c.Connect(peers[0].LocalAddrPort())
						require.NoError(t, err)
						return cc
					},
				}
				for name, make := range dialled {
					var c *udp.ConnectedConn
					here.Do(func() { c = make() })
					sockettest.CloseAtEnd(t, c)
					h.Next(t, "Started")
					port := c.LocalAddrPort().Port()
					for i, peer := range []*udp.Conn{peers[0], peers[1], peers[0]} {
						if i > 0 {
							require.NoError(t, c.Reconnect(peer.LocalAddrPort()), name)
						}
						require.NoError(t, c.Send([]byte("hello")))
						e := servers.Next(t, "Received")
						require.Same(t, peer, e.Conn)
						want := netip.AddrPortFrom(netip.MustParseAddr([]string{test.net1, test.net2, test.net1}[i]+"1"), port)
						require.Equal(t, want, e.Datagram.From, name)
						require.Equal(t, want, c.LocalAddrPort(), name)
						require.NoError(t, peer.SendTo([]byte("back"), e.Datagram.From))
						require.Equal(t, "back", h.Next(t, "Received").Data)
					}
					// If a peer can't be reached, nothing changes.
					err := c.Reconnect(netip.AddrPortFrom(netip.MustParseAddr(map[string]string{"udp4": "203.0.113.1", "udp6": "2001:db8:3::1"}[test.network]), 9))
					sockettest.RequireOpError(t, err, "connect")
					require.ErrorIs(t, err, syscall.ENETUNREACH)
					require.Equal(t, peers[0].LocalAddrPort(), c.RemoteAddrPort())
					require.NoError(t, c.Send([]byte("still")))
					require.Equal(t, "still", servers.Next(t, "Received").Data)
					require.Equal(t, port, c.LocalAddrPort().Port())
				}
			})
		})
	}
}

// device is the interface that a socket is bound to, 0 for none.
func device(t *testing.T, c *udp.Conn) (index int) {
	t.Helper()
	rc, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		index, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	}))
	require.NoError(t, err)
	return index
}

// Linux binds a socket to the interface of a link-local peer before it finds out that it
// can't reach the peer. The socket still receives on all interfaces afterwards.
func TestFailedConnectToALinkLocalAddressLeavesTheSocketAsItWas(t *testing.T) {
	netns.Run(t, func() {
		here := netns.New(t)
		here.IP("link add down0 type veth peer name down1")
		here.Addr("lo", "2001:db8::1/128")
		here.IP("link set lo up")
		for _, network := range []string{"udp6", "udp"} {
			t.Run(network, func(t *testing.T) {
				here.Do(func() {
					h := sockettest.NewRecorder()
					c, err := udp.Listen(t.Context(), network, ":0", h)
					require.NoError(t, err)
					sockettest.CloseAtEnd(t, c)
					h.Next(t, "Started")
					bound := c.LocalAddrPort()
					_, err = c.Connect(netip.MustParseAddrPort("[fe80::1%down0]:9"))
					sockettest.RequireOpError(t, err, "connect")
					require.Zero(t, device(t, c))
					require.Equal(t, bound, c.LocalAddrPort())
					other := sockettest.Listen(t, udp.Config{}, "udp6", udp.BaseHandler{})
					require.NoError(t, other.SendTo([]byte("hi"), netip.AddrPortFrom(netip.IPv6Loopback(), bound.Port())))
					require.Equal(t, "hi", h.Next(t, "Received").Data)
				})
			})
		}
	})
}

// A socket stays bound to the interface that its owner chose. Linux forgets that together with
// the peer; traffic that must stay on one interface would then leave by others.
func TestChangesOfThePeerKeepTheDevice(t *testing.T) {
	netns.Run(t, func() {
		here := netns.New(t)
		here.IP("link add one type veth peer name one1")
		here.IP("link add two type veth peer name two1")
		for name, address := range map[string]string{"one": "192.0.2.1/24", "two": "198.51.100.1/24"} {
			here.IP("addr add " + address + " dev " + name)
			here.IP("link set " + name + " up")
			here.IP("link set " + name + "1 up")
		}
		here.IP("link set lo up")
		want := here.Interface("one").Index
		cfg := udp.Config{Control: func(_, _ string, rc syscall.RawConn) (err error) {
			cerr := rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "one") })
			if cerr != nil {
				return cerr
			}
			return err
		}}
		for _, network := range []string{"udp4", "udp"} {
			t.Run(network, func(t *testing.T) {
				here.Do(func() {
					c, err := cfg.Listen(t.Context(), network, ":0", udp.BaseHandler{})
					require.NoError(t, err)
					sockettest.CloseAtEnd(t, c)
					port := c.LocalAddrPort().Port()
					cc, err := c.Connect(netip.MustParseAddrPort("192.0.2.2:9"))
					require.NoError(t, err)
					require.Equal(t, want, device(t, c))
					require.NoError(t, cc.Reconnect(netip.MustParseAddrPort("192.0.2.3:9")))
					require.Equal(t, want, device(t, c))
					require.NoError(t, cc.Reconnect(netip.MustParseAddrPort("198.51.100.2:9"))) // by the same interface
					require.Equal(t, want, device(t, c))
					require.Equal(t, netip.MustParseAddr("192.0.2.1"), c.LocalAddrPort().Addr())
					_, err = cc.Disconnect()
					require.NoError(t, err)
					require.Equal(t, want, device(t, c))
					require.Equal(t, port, c.LocalAddrPort().Port())
				})
			})
		}
		t.Run("a link-local peer's is forgotten", func(t *testing.T) {
			here.Do(func() {
				c, err := udp.Listen(t.Context(), "udp6", "[::]:0", udp.BaseHandler{})
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				here.Addr("one", "fe80::1/64")
				here.Addr("two", "fe80::1/64")
				cc, err := c.Connect(netip.MustParseAddrPort("[fe80::2%one]:9"))
				require.NoError(t, err)
				require.Equal(t, want, device(t, c))
				require.NoError(t, cc.Reconnect(netip.MustParseAddrPort("[fe80::2%two]:9")))
				require.Equal(t, here.Interface("two").Index, device(t, c))
				_, err = cc.Disconnect()
				require.NoError(t, err)
				require.Zero(t, device(t, c))
			})
		})
	})
}

// A Reconnect that fails while the old peer can't be reached either does not lose that peer:
// once its interface is up again, datagrams are sent to it.
func TestFailedReconnectKeepsAPeerThatIsAwayItself(t *testing.T) {
	for _, test := range []struct{ network, here, there, nowhere string }{
		{"udp4", "192.0.2.1", "192.0.2.2", "203.0.113.1"},
		{"udp6", "2001:db8:1::1", "2001:db8:1::2", "2001:db8:3::1"},
	} {
		t.Run(test.network, func(t *testing.T) {
			netns.Run(t, func() {
				here, there := netns.New(t), netns.New(t)
				netns.Veth(t, here, "eth0", there, "eth0")
				bits := map[string]string{"udp4": "/24", "udp6": "/64"}[test.network]
				here.Addr("eth0", test.here+bits)
				there.Addr("eth0", test.there+bits)
				server := sockettest.NewRecorder()
				var s, c *udp.Conn
				var err error
				there.Do(func() { s, err = udp.Listen(t.Context(), test.network, net.JoinHostPort(test.there, "0"), server) })
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, s)
				server.Next(t, "Started")
				here.Do(func() { c, err = udp.Listen(t.Context(), test.network, ":0", udp.BaseHandler{}) })
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				cc, err := c.Connect(s.LocalAddrPort())
				require.NoError(t, err)
				local := c.LocalAddrPort()

				here.IP("link set eth0 down")
				err = cc.Reconnect(netip.AddrPortFrom(netip.MustParseAddr(test.nowhere), 9))
				sockettest.RequireOpError(t, err, "connect")
				require.ErrorIs(t, err, syscall.ENETUNREACH)
				require.Equal(t, s.LocalAddrPort(), cc.RemoteAddrPort())

				here.IP("link set eth0 up")
				here.AwaitRunning("eth0")
				if test.network == "udp6" { // which is removed with the interface
					here.Addr("eth0", test.here+bits)
				}
				require.NoError(t, cc.Send([]byte("back")))
				require.Equal(t, "back", server.Next(t, "Received").Data)
				require.Equal(t, local, c.LocalAddrPort())
			})
		})
	}
}

// A socket whose own address is removed for a moment keeps its port and its peer, whatever is
// tried meanwhile.
func TestReconnectWhileTheOwnAddressIsRemoved(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "eth0", there, "eth0")
		here.Addr("eth0", "192.0.2.1/24")
		there.Addr("eth0", "192.0.2.2/24")
		there.IP("route add 198.51.100.0/24 dev eth0")
		h, server := sockettest.NewRecorder(), sockettest.NewRecorder()
		var s, c *udp.Conn
		var err error
		there.Do(func() { s, err = udp.Listen(t.Context(), "udp4", "192.0.2.2:0", server) })
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, s)
		server.Next(t, "Started")
		for _, change := range []string{"Reconnect", "Disconnect"} {
			t.Run(change, func(t *testing.T) {
				here.Addr("eth0", "198.51.100.1/24")
				here.Do(func() { c, err = udp.Listen(t.Context(), "udp4", "198.51.100.1:0", h) })
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				h.Next(t, "Started")
				cc, err := c.Connect(s.LocalAddrPort())
				require.NoError(t, err)
				local := c.LocalAddrPort()
				here.IP("addr del 198.51.100.1/24 dev eth0")
				if change == "Reconnect" {
					err = cc.Reconnect(netip.MustParseAddrPort("192.0.2.3:9"))
					sockettest.RequireOpError(t, err, "connect")
					require.Equal(t, s.LocalAddrPort(), cc.RemoteAddrPort())
				} else {
					_, err = cc.Disconnect()
					require.NoError(t, err)
				}
				require.Error(t, cc.Send([]byte("lost")))

				here.Addr("eth0", "198.51.100.1/24")
				if change == "Disconnect" {
					cc, err = c.Connect(s.LocalAddrPort())
					require.NoError(t, err)
				}
				require.NoError(t, cc.Send([]byte("back")))
				e := server.Next(t, "Received")
				require.Equal(t, "back", e.Data)
				require.Equal(t, local, e.Datagram.From)
				require.NoError(t, s.SendTo([]byte("heard"), local))
				require.Equal(t, "heard", h.Next(t, "Received").Data)
				require.NoError(t, cc.Reconnect(netip.MustParseAddrPort("192.0.2.3:9")))
				require.Equal(t, local, c.LocalAddrPort())
				sockettest.Stop(t, c)
				h.Next(t, "Stopped")
				here.IP("addr del 198.51.100.1/24 dev eth0")
			})
		}
	})
}

// Adopt finds a peer that package net does not know.
func TestAdoptOfAPeerSetWithConnect(t *testing.T) {
	peer, uc := sockettest.ListenNet(t, "udp4"), sockettest.Unowned(t, "udp4")
	rc, err := uc.SyscallConn()
	require.NoError(t, err)
	at := sockettest.AddrPort(peer)
	require.NoError(t, rc.Control(func(fd uintptr) {
		err = unix.Connect(int(fd), &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())})
	}))
	require.NoError(t, err)
	c, err := udp.Config{}.Adopt(uc, udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	cc, ok := c.Connected()
	require.True(t, ok)
	require.Equal(t, at, cc.RemoteAddrPort())
	require.NoError(t, cc.Send([]byte("hello")))
	sockettest.Read(t, peer)
	_, err = cc.Disconnect()
	require.NoError(t, err)
	require.NoError(t, c.SendTo([]byte("free"), at))
	sockettest.Read(t, peer)
}
