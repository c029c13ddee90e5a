package udp_test

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// Listen, Connect, Reconnect and Disconnect are one socket, with one port, which
// the system may have chosen.
//
// Twisted: C1 C3 C4 UDPTests.test_sendPackets UDPPortTestsMixin.test_getHostIPv6
// UDPPortTestsMixin.test_connectedWriteToIPv6Interface
func TestConnectReconnectDisconnectKeepThePort(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		for _, host := range []string{sockettest.Loopback(network), ""} {
			t.Run(fmt.Sprintf("%s bound to %q", network, host), func(t *testing.T) {
				h := sockettest.NewRecorder()
				c, err := udp.Listen(t.Context(), network, host+":0", h)
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				bound := c.LocalAddrPort()
				one, two := sockettest.ListenNet(t, network), sockettest.ListenNet(t, network)
				h.Next(t, "Started")

				// hears says whose datagrams arrive. On Linux an IPv6 socket that was
				// disconnected hears its old peer's address only; here all have one.
				hears := func(what string, from *net.UDPConn, not *net.UDPConn) {
					t.Helper()
					to := netip.AddrPortFrom(sockettest.AddrPort(one).Addr(), bound.Port())
					require.Equal(t, bound.Port(), c.LocalAddrPort().Port())
					if not != nil {
						_, err := not.WriteToUDPAddrPort([]byte("unexpected"), to)
						require.NoError(t, err)
					}
					_, err := from.WriteToUDPAddrPort([]byte(what), to)
					require.NoError(t, err)
					e := h.Next(t, "Received")
					require.Equal(t, what, e.Data)
					require.Equal(t, sockettest.AddrPort(from), e.Datagram.From)
				}
				hears("before", one, nil)
				hears("before", two, nil)

				connected, err := c.Connect(sockettest.AddrPort(one))
				require.NoError(t, err)
				require.Same(t, c, connected.Conn)
				require.Equal(t, sockettest.AddrPort(one), connected.RemoteAddrPort())
				require.Equal(t, sockettest.AddrPort(one).Addr(), connected.LocalAddrPort().Addr(), "the address that reaches the peer")
				hears("connected", one, two)
				require.NoError(t, connected.Send([]byte("to one")))
				data, from := sockettest.Read(t, one)
				require.Equal(t, "to one", data)
				require.Equal(t, connected.LocalAddrPort(), from)

				require.NoError(t, connected.Reconnect(sockettest.AddrPort(two)))
				require.Equal(t, sockettest.AddrPort(two), connected.RemoteAddrPort())
				hears("reconnected", two, one)
				require.NoError(t, connected.Send([]byte("to two")))
				data, _ = sockettest.Read(t, two)
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
				require.NoError(t, c.SendTo([]byte("free"), sockettest.AddrPort(one)))
				data, from = sockettest.Read(t, one)
				require.Equal(t, "free", data)
				require.Equal(t, bound.Port(), from.Port())

				_, err = c.Connect(sockettest.AddrPort(two))
				require.NoError(t, err)
				hears("and again", two, one)
				sockettest.Stop(t, c)
				require.Equal(t, []string{"Stopped"}, h.Names(), "one life")
			})
		}
	}
}

// What can't be done to the peer says so and changes nothing.
//
// Twisted: W3 C2 C8 UDPTests.test_badConnect
func TestFailedConnectLeavesTheSocketAsItWas(t *testing.T) {
	peer := sockettest.ListenNet(t, "udp4")
	h := sockettest.NewRecorder()
	c := sockettest.Listen(t, udp.Config{}, "udp4", h)
	h.Next(t, "Started")
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
			sockettest.RequireOpError(t, err, "connect")
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
			} else {
				require.ErrorAs(t, err, new(*net.AddrError))
			}
			_, ok := c.Connected()
			require.False(t, ok)
			require.Equal(t, local, c.LocalAddrPort())
			require.NoError(t, c.SendTo([]byte("x"), sockettest.AddrPort(peer)))
			sockettest.Read(t, peer)
		})
	}

	connected, err := c.Connect(sockettest.AddrPort(peer))
	require.NoError(t, err)
	for _, test := range bad {
		t.Run("connected: "+test.name, func(t *testing.T) {
			err := connected.Reconnect(test.to)
			sockettest.RequireOpError(t, err, "connect")
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
			}
			require.Equal(t, sockettest.AddrPort(peer), connected.RemoteAddrPort())
			require.Equal(t, local, c.LocalAddrPort())
			require.NoError(t, connected.Send([]byte("x")))
			sockettest.Read(t, peer)
			_, err = peer.WriteToUDPAddrPort([]byte("back"), local)
			require.NoError(t, err)
			require.Equal(t, "back", h.Next(t, "Received").Data)
		})
	}

	_, err = c.Connect(sockettest.AddrPort(peer))
	sockettest.RequireOpError(t, err, "connect")
	require.ErrorIs(t, err, syscall.EISCONN)
	require.ErrorIs(t, c.SendTo(nil, local), syscall.EISCONN, "another address than the peer's")
	n, err := c.SendBatch([]udp.Message{{Data: []byte("a")}, {To: sockettest.AddrPort(peer)}, {To: local}, {}})
	require.Equal(t, 3, n)
	require.ErrorIs(t, err, syscall.EISCONN)

	_, err = connected.Disconnect()
	require.NoError(t, err)
	_, err = connected.Disconnect()
	sockettest.RequireOpError(t, err, "disconnect")
	require.ErrorIs(t, err, syscall.ENOTCONN)
	err = connected.Reconnect(sockettest.AddrPort(peer))
	sockettest.RequireOpError(t, err, "connect")
	require.ErrorIs(t, err, syscall.ENOTCONN)

	sockettest.Stop(t, c)
	_, err = c.Connect(sockettest.AddrPort(peer))
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestConnectAfterClose(t *testing.T) {
	peer := sockettest.ListenNet(t, "udp4")
	c := sockettest.Dial(t, sockettest.AddrPort(peer), udp.BaseHandler{})
	sockettest.Stop(t, c)
	require.ErrorIs(t, c.Reconnect(sockettest.AddrPort(peer)), net.ErrClosed)
	_, err := c.Disconnect()
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, c.Send(nil), net.ErrClosed)
	require.EqualValues(t, 1, c.Stats().SendFailed.Closed)
}

// What others have sent before Connect still lies in the kernel after it, and is
// dropped and counted.
//
// Twisted: C8
func TestUnexpectedSourcesQueuedBeforeConnect(t *testing.T) {
	const n = 20
	peer, unexpected := sockettest.ListenNet(t, "udp4"), sockettest.ListenNet(t, "udp4")
	for _, way := range []string{"Connect", "Reconnect"} {
		t.Run(way, func(t *testing.T) {
			h := sockettest.NewRecorder()
			busy := make(chan struct{})
			h.OnReceived = func(_ *udp.Conn, d udp.Datagram) {
				if string(d.Data) == "first" {
					<-busy
				}
			}
			c := sockettest.Listen(t, udp.Config{}, "udp4", h)
			h.Next(t, "Started")
			if way == "Reconnect" {
				_, err := c.Connect(sockettest.AddrPort(unexpected))
				require.NoError(t, err)
			}
			write := func(from *net.UDPConn, data string) {
				_, err := from.WriteToUDPAddrPort([]byte(data), c.LocalAddrPort())
				require.NoError(t, err)
			}
			write(unexpected, "first")
			h.Next(t, "Received")
			for range n {
				write(unexpected, "unexpected")
				if way == "Connect" {
					write(peer, "peer")
				}
			}
			sockettest.Settle(t)
			if way == "Connect" {
				_, err := c.Connect(sockettest.AddrPort(peer))
				require.NoError(t, err)
			} else {
				cc, _ := c.Connected()
				require.NoError(t, cc.Reconnect(sockettest.AddrPort(peer)))
			}
			close(busy)
			write(peer, "last")
			for e := h.Next(t, "Received"); e.Data != "last"; e = h.Next(t, "Received") {
				require.Equal(t, "peer", e.Data)
			}
			sockettest.Stop(t, c)
			require.EqualValues(t, n, c.Stats().Dropped.Stranger)
		})
	}
}

// Sends that race a change of the peer all leave, to the one or the other.
func TestSendAgainstReconnect(t *testing.T) {
	one, two := sockettest.ListenNet(t, "udp4"), sockettest.ListenNet(t, "udp4")
	c := sockettest.Dial(t, sockettest.AddrPort(one), udp.BaseHandler{})
	port := c.LocalAddrPort().Port()
	var wg sync.WaitGroup
	quit := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-quit:
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
		require.NoError(t, c.Reconnect(sockettest.AddrPort(to)))
	}
	close(quit)
	wg.Wait()
	require.Zero(t, c.Stats().SendErrors)
	require.Equal(t, port, c.LocalAddrPort().Port())
}
