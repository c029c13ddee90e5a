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
)

// Listen, Connect, Reconnect and Disconnect are one socket, with one port, which
// the system may have chosen.
//
// Twisted: C1 C3 C4 UDPTests.test_sendPackets UDPPortTestsMixin.test_getHostIPv6
// UDPPortTestsMixin.test_connectedWriteToIPv6Interface
func TestConnectReconnectDisconnectKeepThePort(t *testing.T) {
	for _, network := range networks(t) {
		for _, host := range []string{loopback(network), ""} {
			t.Run(fmt.Sprintf("%s bound to %q", network, host), func(t *testing.T) {
				h := newRecorder()
				c, err := udp.Listen(t.Context(), network, host+":0", h)
				require.NoError(t, err)
				closes(t, c)
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
				stop(t, c)
				require.Equal(t, []string{"Stopped"}, h.names(), "one life")
			})
		}
	}
}

// What can't be done to the peer says so and changes nothing.
//
// Twisted: W3 C2 C8 UDPTests.test_badConnect
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
	require.Equal(t, 3, n)
	require.ErrorIs(t, err, syscall.EISCONN)

	_, err = connected.Disconnect()
	require.NoError(t, err)
	_, err = connected.Disconnect()
	requireOpError(t, err, "disconnect")
	require.ErrorIs(t, err, syscall.ENOTCONN)
	err = connected.Reconnect(addrPort(peer))
	requireOpError(t, err, "connect")
	require.ErrorIs(t, err, syscall.ENOTCONN)

	stop(t, c)
	_, err = c.Connect(addrPort(peer))
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestConnectAfterClose(t *testing.T) {
	peer := raw(t, "udp4")
	c := dial(t, addrPort(peer), udp.BaseHandler{})
	stop(t, c)
	require.ErrorIs(t, c.Reconnect(addrPort(peer)), net.ErrClosed)
	_, err := c.Disconnect()
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, c.Send(nil), net.ErrClosed)
	require.EqualValues(t, 1, c.Stats().SendFailed.Closed)
}

// What others have sent before Connect still lies in the kernel after it, and is
// dropped and counted.
//
// Twisted: C8
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
			stop(t, c)
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
		require.NoError(t, c.Reconnect(addrPort(to)))
	}
	close(quit)
	wg.Wait()
	require.Zero(t, c.Stats().SendErrors)
	require.Equal(t, port, c.LocalAddrPort().Port())
}
