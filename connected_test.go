package udp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
)

// One write to a port where nobody listens, on a socket that does nothing else,
// is told, once, and the socket goes on.
func TestSingleWriteToADeadPortIsRefused(t *testing.T) {
	for _, network := range networks(t) {
		t.Run(network, func(t *testing.T) {
			h := newRecorder()
			dead, revive := holdPort(t, network)
			c := dial(t, dead, h)
			h.next(t, "Started")
			require.NoError(t, c.Send([]byte("anybody?")))
			r := h.next(t, "Refused").r
			requireRefused(t, c.Conn, r, dead, "anybody?")

			peer := revive()
			require.NoError(t, c.Send([]byte("now?")))
			data, from := read(t, peer)
			require.Equal(t, "now?", data)
			require.Equal(t, c.LocalAddrPort(), from)
			_, err := peer.WriteToUDPAddrPort([]byte("yes"), c.LocalAddrPort())
			require.NoError(t, err)
			require.Equal(t, "yes", h.next(t, "Received").data)
			s := c.Stats()
			require.EqualValues(t, 1, s.Refused)
			require.EqualValues(t, 2, s.Sent)
			require.Zero(t, s.SendErrors)
		})
	}
}

func requireRefused(t testing.TB, c *udp.Conn, r *udp.Refusal, peer netip.AddrPort, data string) {
	t.Helper()
	require.ErrorIs(t, r, udp.ErrRefused)
	require.ErrorIs(t, r, syscall.ECONNREFUSED)
	require.Equal(t, peer, r.Peer)
	require.Contains(t, r.Error(), peer.String())
	if !c.Info().ErrorQueue {
		return
	}
	require.Equal(t, data, string(r.Payload))
	require.Equal(t, peer.Addr(), r.Offender)
	want := [2]uint8{3, 3} // RFC 792: destination unreachable, port unreachable
	if peer.Addr().Is6() {
		want = [2]uint8{1, 4} // RFC 4443
	}
	require.Equal(t, want, [2]uint8{r.Type, r.Code})
	require.Zero(t, r.MTU)
}

// Every datagram that the kernel took and a dead port refused is told of exactly
// once, whether a read or a later send met the message; none is told to the sender.
func TestOneRefusedForEachICMPMessage(t *testing.T) {
	for _, network := range networks(t) {
		t.Run(network, func(t *testing.T) {
			const n = 50 // fewer than ICMP messages a second are limited to on loopback
			h := newRecorder()
			dead := deadPort(t, network)
			c := dial(t, dead, h)
			h.next(t, "Started")
			for range n {
				require.NoError(t, c.Send([]byte("x")))
				// Linux without an error queue keeps one pending error only, so that a
				// second message would replace the first: one after another.
				requireRefused(t, c.Conn, h.next(t, "Refused").r, dead, "x")
			}
			require.NoError(t, c.Close())
			require.Equal(t, []string{"Stopped"}, h.names())
			s := c.Stats()
			require.EqualValues(t, n, s.Sent)
			require.EqualValues(t, n, s.Refused)
			require.Zero(t, s.SendErrors)
		})
	}
}

// Sends in a row to a dead port meet each other's errors: all of them are
// repeated, none fails, and what the Handler hears is never more than was sent.
func TestSendThatMeetsAnOlderErrorIsRepeated(t *testing.T) {
	for _, network := range networks(t) {
		t.Run(network, func(t *testing.T) {
			const n = 100
			h := newRecorder()
			// While Started runs nothing reads, so the sends themselves meet the errors.
			h.started = func(c *udp.Conn) {
				cc, ok := c.Connected()
				assert.True(t, ok)
				for i := range n {
					if i%2 == 0 {
						assert.NoError(t, cc.Send([]byte{byte(i)}))
					} else {
						sent, err := c.SendBatch([]udp.Message{{Data: []byte{byte(i)}}})
						assert.NoError(t, err)
						assert.Equal(t, 1, sent)
					}
				}
				assert.NoError(t, c.Flush())
				s := c.Stats()
				assert.EqualValues(t, n, s.Sent)
				assert.NotZero(t, s.Retried)
			}
			dead, revive := holdPort(t, network)
			c := dial(t, dead, h)
			h.next(t, "Started")
			h.next(t, "Refused")
			peer := revive()
			require.NoError(t, c.Send([]byte("last")))
			data, _ := read(t, peer)
			require.Equal(t, "last", data, "and nothing twice")
			require.NoError(t, c.Close())
			s := c.Stats()
			require.LessOrEqual(t, s.Refused, uint64(n))
			require.Zero(t, s.SendErrors)
		})
	}
}

// The send that only met an older datagram's error is delivered, when somebody
// listens by then.
func TestSendAfterARefusalIsDelivered(t *testing.T) {
	for _, network := range networks(t) {
		t.Run(network, func(t *testing.T) {
			h := newRecorder()
			dead, revive := holdPort(t, network)
			var peer *net.UDPConn
			h.started = func(c *udp.Conn) {
				cc, _ := c.Connected()
				assert.NoError(t, cc.Send([]byte("too early")))
				peer = revive()
				assert.NoError(t, cc.Send([]byte("in time")))
				assert.NoError(t, c.Flush())
			}
			c := dial(t, dead, h)
			h.next(t, "Started")
			require.NotNil(t, peer)
			data, _ := read(t, peer)
			require.Equal(t, "in time", data)
			requireRefused(t, c.Conn, h.next(t, "Refused").r, dead, "too early")
			require.EqualValues(t, 1, c.Stats().Retried)
		})
	}
}

// A handler that writes from Refused does not keep the socket from its other
// work, as Twisted's does, and Close ends it.
func TestWritingInRefused(t *testing.T) {
	h := newRecorder()
	h.refused = func(c *udp.Conn, _ *udp.Refusal) {
		if cc, ok := c.Connected(); ok {
			_ = cc.Send([]byte("again"))
		}
	}
	c := dial(t, deadPort(t, "udp4"), h)
	h.next(t, "Started")
	require.NoError(t, c.Send([]byte("first")))
	for range 20 {
		h.next(t, "Refused")
	}
	require.NoError(t, c.Close())
}

// Unconnected sockets hear nothing of refusals and are not harmed by them; with
// Config.PeerErrors they hear them.
func TestRefusalsOnUnconnectedSockets(t *testing.T) {
	for _, network := range networks(t) {
		t.Run(network, func(t *testing.T) {
			h := newRecorder()
			c := listen(t, udp.Config{}, network, h)
			h.next(t, "Started")
			dead := deadPort(t, network)
			for range 10 {
				require.NoError(t, c.SendTo([]byte("x"), dead))
				require.NoError(t, c.SendTo([]byte("y"), c.LocalAddrPort()))
				require.Equal(t, "y", h.next(t, "Received").data)
			}
			require.Zero(t, c.Stats().Refused)
			require.EqualValues(t, 20, c.Stats().Sent)
		})
		t.Run(network+" with PeerErrors", func(t *testing.T) {
			h := newRecorder()
			c, err := udp.Config{PeerErrors: true}.Listen(t.Context(), network, loopback(network)+":0", h)
			if err != nil {
				requireOpError(t, err, "listen")
				require.ErrorIs(t, err, errUnsupported)
				t.Skip(err)
			}
			books(t, c)
			require.True(t, c.Info().ErrorQueue)
			h.next(t, "Started")
			for _, dead := range []netip.AddrPort{deadPort(t, network), deadPort(t, network)} {
				require.NoError(t, c.SendTo([]byte("x"), dead))
				requireRefused(t, c, h.next(t, "Refused").r, dead, "x")
				require.NoError(t, c.SendTo([]byte("y"), c.LocalAddrPort()))
				require.Equal(t, "y", h.next(t, "Received").data)
			}
			require.Zero(t, c.Stats().SendErrors)
		})
	}
}

// Listen, Connect, Reconnect and Disconnect are one socket, with one port, which
// the system may have chosen.
func TestConnectReconnectDisconnectKeepThePort(t *testing.T) {
	for _, network := range networks(t) {
		for _, host := range []string{loopback(network), ""} {
			t.Run(fmt.Sprintf("%s bound to %q", network, host), func(t *testing.T) {
				h := newRecorder()
				c, err := udp.Listen(t.Context(), network, host+":0", h)
				require.NoError(t, err)
				books(t, c)
				bound := c.LocalAddrPort()
				one, two := raw(t, network), raw(t, network)
				h.next(t, "Started")

				// hears says whose datagrams arrive. On Linux an IPv6 socket that was
				// disconnected hears its old peer's address only; here all have one.
				hears := func(what string, from *net.UDPConn, not *net.UDPConn) {
					t.Helper()
					to := netip.AddrPortFrom(addrPort(one).Addr(), bound.Port())
					require.Equal(t, bound.Port(), c.LocalAddrPort().Port())
					if not != nil {
						_, err := not.WriteToUDPAddrPort([]byte("stranger"), to)
						require.NoError(t, err)
					}
					_, err := from.WriteToUDPAddrPort([]byte(what), to)
					require.NoError(t, err)
					e := h.next(t, "Received")
					require.Equal(t, what, e.data)
					require.Equal(t, addrPort(from), e.d.From)
				}
				hears("before", one, nil)
				hears("before", two, nil)

				connected, err := c.Connect(addrPort(one))
				require.NoError(t, err)
				require.Same(t, c, connected.Conn)
				require.Equal(t, addrPort(one), connected.RemoteAddrPort())
				require.Equal(t, addrPort(one).Addr(), connected.LocalAddrPort().Addr(), "the address that reaches the peer")
				hears("connected", one, two)
				require.NoError(t, connected.Send([]byte("to one")))
				data, from := read(t, one)
				require.Equal(t, "to one", data)
				require.Equal(t, connected.LocalAddrPort(), from)

				require.NoError(t, connected.Reconnect(addrPort(two)))
				require.Equal(t, addrPort(two), connected.RemoteAddrPort())
				hears("reconnected", two, one)
				require.NoError(t, connected.Send([]byte("to two")))
				data, _ = read(t, two)
				require.Equal(t, "to two", data)

				again, err := connected.Disconnect()
				require.NoError(t, err)
				require.Same(t, c, again)
				require.Equal(t, bound, c.LocalAddrPort())
				require.Zero(t, connected.RemoteAddrPort())
				_, ok := c.Connected()
				require.False(t, ok)
				hears("disconnected", one, nil)
				hears("disconnected", two, nil)
				require.ErrorIs(t, connected.Send(nil), syscall.ENOTCONN)
				require.NoError(t, c.SendTo([]byte("free"), addrPort(one)))
				data, from = read(t, one)
				require.Equal(t, "free", data)
				require.Equal(t, bound.Port(), from.Port())

				_, err = c.Connect(addrPort(two))
				require.NoError(t, err)
				hears("and again", two, one)
				require.NoError(t, c.Close())
				require.Equal(t, []string{"Stopped"}, h.names(), "one life")
			})
		}
	}
}

// What can't be done to the peer says so and changes nothing.
func TestFailedConnectLeavesTheSocketAsItWas(t *testing.T) {
	peer := raw(t, "udp4")
	h := newRecorder()
	c := listen(t, udp.Config{}, "udp4", h)
	h.next(t, "Started")
	local := c.LocalAddrPort()
	bad := []struct {
		name string
		to   netip.AddrPort
		err  error
	}{
		{"the other family", netip.MustParseAddrPort("[::1]:9"), udp.ErrFamily},
		{"port 0", netip.MustParseAddrPort("127.0.0.1:0"), nil},
		{"no address", netip.AddrPort{}, nil},
		{"a broadcast address without Config.Broadcast", netip.MustParseAddrPort("255.255.255.255:9"), syscall.EACCES},
	}
	for _, test := range bad {
		t.Run("unconnected: "+test.name, func(t *testing.T) {
			_, err := c.Connect(test.to)
			requireOpError(t, err, "connect")
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
			} else {
				require.ErrorAs(t, err, new(*net.AddrError))
			}
			_, ok := c.Connected()
			require.False(t, ok)
			require.Equal(t, local, c.LocalAddrPort())
			require.NoError(t, c.SendTo([]byte("x"), addrPort(peer)))
			read(t, peer)
		})
	}

	connected, err := c.Connect(addrPort(peer))
	require.NoError(t, err)
	for _, test := range bad {
		t.Run("connected: "+test.name, func(t *testing.T) {
			err := connected.Reconnect(test.to)
			requireOpError(t, err, "connect")
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
			}
			require.Equal(t, addrPort(peer), connected.RemoteAddrPort())
			require.Equal(t, local, c.LocalAddrPort())
			require.NoError(t, connected.Send([]byte("x")))
			read(t, peer)
			_, err = peer.WriteToUDPAddrPort([]byte("back"), local)
			require.NoError(t, err)
			require.Equal(t, "back", h.next(t, "Received").data)
		})
	}

	_, err = c.Connect(addrPort(peer))
	requireOpError(t, err, "connect")
	require.ErrorIs(t, err, syscall.EISCONN)
	require.ErrorIs(t, c.SendTo(nil, local), syscall.EISCONN, "another address than the peer's")
	n, err := c.SendBatch([]udp.Message{{Data: []byte("a")}, {To: addrPort(peer)}, {To: local}, {}})
	require.Equal(t, 2, n)
	require.ErrorIs(t, err, syscall.EISCONN)

	_, err = connected.Disconnect()
	require.NoError(t, err)
	_, err = connected.Disconnect()
	requireOpError(t, err, "disconnect")
	require.ErrorIs(t, err, syscall.ENOTCONN)
	err = connected.Reconnect(addrPort(peer))
	requireOpError(t, err, "connect")
	require.ErrorIs(t, err, syscall.ENOTCONN)

	require.NoError(t, c.Close())
	_, err = c.Connect(addrPort(peer))
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestConnectAfterClose(t *testing.T) {
	peer := raw(t, "udp4")
	c := dial(t, addrPort(peer), udp.BaseHandler{})
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Reconnect(addrPort(peer)), net.ErrClosed)
	_, err := c.Disconnect()
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, c.Send(nil), net.ErrClosed)
	require.EqualValues(t, 1, c.Stats().SendFailed.Closed)
}

// What others have sent before Connect still lies in the kernel after it, and is
// dropped and counted.
func TestStrangersQueuedBeforeConnect(t *testing.T) {
	const n = 20
	peer, stranger := raw(t, "udp4"), raw(t, "udp4")
	for _, way := range []string{"Connect", "Reconnect"} {
		t.Run(way, func(t *testing.T) {
			h := newRecorder()
			busy := make(chan struct{})
			h.received = func(_ *udp.Conn, d udp.Datagram) {
				if string(d.Data) == "first" {
					<-busy
				}
			}
			c := listen(t, udp.Config{}, "udp4", h)
			h.next(t, "Started")
			if way == "Reconnect" {
				_, err := c.Connect(addrPort(stranger))
				require.NoError(t, err)
			}
			write := func(from *net.UDPConn, data string) {
				_, err := from.WriteToUDPAddrPort([]byte(data), c.LocalAddrPort())
				require.NoError(t, err)
			}
			write(stranger, "first")
			h.next(t, "Received")
			for range n {
				write(stranger, "stranger")
				if way == "Connect" {
					write(peer, "peer")
				}
			}
			if way == "Connect" {
				_, err := c.Connect(addrPort(peer))
				require.NoError(t, err)
			} else {
				cc, _ := c.Connected()
				require.NoError(t, cc.Reconnect(addrPort(peer)))
			}
			close(busy)
			write(peer, "last")
			for e := h.next(t, "Received"); e.data != "last"; e = h.next(t, "Received") {
				require.Equal(t, "peer", e.data)
			}
			require.NoError(t, c.Close())
			require.EqualValues(t, n, c.Stats().Dropped.Stranger)
		})
	}
}

// Sends that race a change of the peer all leave, to the one or the other.
func TestSendAgainstReconnect(t *testing.T) {
	one, two := raw(t, "udp4"), raw(t, "udp4")
	c := dial(t, addrPort(one), udp.BaseHandler{})
	port := c.LocalAddrPort().Port()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !assert.NoError(t, c.Send([]byte("x"))) {
					return
				}
			}
		})
	}
	for i := range 300 {
		to := one
		if i%2 == 0 {
			to = two
		}
		require.NoError(t, c.Reconnect(addrPort(to)))
	}
	close(stop)
	wg.Wait()
	require.Zero(t, c.Stats().SendErrors)
	require.Equal(t, port, c.LocalAddrPort().Port())
}

// A Reconnect to a peer behind another interface leaves from that interface's
// address; the port stays.
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

				h, servers := newRecorder(), newRecorder()
				var peers []*udp.Conn
				for i, ns := range []*netns.NS{left, right} {
					ns.Do(func() {
						p, err := udp.Listen(t.Context(), test.network, net.JoinHostPort([]string{test.net1, test.net2}[i]+"2", "0"), servers)
						require.NoError(t, err)
						books(t, p)
						peers = append(peers, p)
					})
					servers.next(t, "Started")
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
					books(t, c)
					h.next(t, "Started")
					port := c.LocalAddrPort().Port()
					for i, peer := range []*udp.Conn{peers[0], peers[1], peers[0]} {
						if i > 0 {
							require.NoError(t, c.Reconnect(peer.LocalAddrPort()), name)
						}
						require.NoError(t, c.Send([]byte("hello")))
						e := servers.next(t, "Received")
						require.Same(t, peer, e.conn)
						want := netip.AddrPortFrom(netip.MustParseAddr([]string{test.net1, test.net2, test.net1}[i]+"1"), port)
						require.Equal(t, want, e.d.From, name)
						require.Equal(t, want, c.LocalAddrPort(), name)
						require.NoError(t, peer.SendTo([]byte("back"), e.d.From))
						require.Equal(t, "back", h.next(t, "Received").data)
					}
					// A peer that can't be reached leaves all as it was.
					err := c.Reconnect(netip.AddrPortFrom(netip.MustParseAddr(map[string]string{"udp4": "203.0.113.1", "udp6": "2001:db8:3::1"}[test.network]), 9))
					requireOpError(t, err, "connect")
					require.ErrorIs(t, err, syscall.ENETUNREACH)
					require.Equal(t, peers[0].LocalAddrPort(), c.RemoteAddrPort())
					require.NoError(t, c.Send([]byte("still")))
					require.Equal(t, "still", servers.next(t, "Received").data)
					require.Equal(t, port, c.LocalAddrPort().Port())
				}
			})
		})
	}
}

// Dial takes the host that it has a route to.
func TestDial(t *testing.T) {
	server := newRecorder()
	server.received = func(_ *udp.Conn, d udp.Datagram) { assert.NoError(t, d.Reply(d.Data)) }
	c := listen(t, udp.Config{}, "udp4", server)
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	require.NoError(t, err)
	for _, test := range []struct{ name, network, address string }{
		{"an address", "udp", c.LocalAddr().String()},
		{"a name", "udp4", "localhost:" + port},
		{"the unspecified address is this host", "udp", "0.0.0.0:" + port},
		{"no host is this host", "udp4", ":" + port},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newRecorder()
			client, err := udp.Dial(t.Context(), test.network, test.address, h)
			require.NoError(t, err)
			books(t, client)
			require.Equal(t, c.LocalAddrPort(), client.RemoteAddrPort())
			h.next(t, "Started")
			require.NoError(t, client.Send([]byte("hello")))
			require.Equal(t, "hello", h.next(t, "Received").data)
		})
	}
	_, err = udp.Dial(context.Background(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	requireOpError(t, err, "dial")
	require.ErrorAs(t, err, new(*net.AddrError))
}
