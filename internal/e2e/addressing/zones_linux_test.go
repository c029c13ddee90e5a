package addressing_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// zoned makes a socket in a namespace that none of the test's threads is in, with a peer that
// replies at the other end of the cable called left.
func zoned(t *testing.T, h udp.Handler) (here *netns.NS, c *udp.Conn, peer netip.AddrPort) {
	t.Helper()
	here, there := netns.New(t), netns.New(t)
	netns.Veth(t, here, "left", there, "right")
	here.Addr("left", "fe80::1/64")
	there.Addr("right", "fe80::2/64")
	var server *udp.Conn
	var err error
	there.Do(func() {
		server, err = udp.Listen(t.Context(), "udp6", "[::]:0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			d.Reply(d.Data)
		}))
	})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, server)
	here.Do(func() { c, err = udp.Config{PeerErrors: true}.Listen(context.Background(), "udp6", "[::]:0", h) })
	if err != nil {
		here.Do(func() { c, err = udp.Listen(context.Background(), "udp6", "[::]:0", h) })
	}
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	return here, c, netip.AddrPortFrom(netip.MustParseAddr("fe80::2%left"), server.LocalAddrPort().Port())
}

// The zone of an address is an interface of the socket's network namespace, not of the calling
// thread's, where another interface may have the name or the index.
func TestZonesAreOfTheSocketsNamespace(t *testing.T) {
	netns.Run(t, func() {
		q := udp.NewQueue(10, udp.Block)
		here, c, peer := zoned(t, q)
		elsewhere := netns.New(t)
		index := here.Interface("left").Index
		elsewhere.IP(fmt.Sprintf("link add decoy index %d type veth peer name end0 index %d", index, index+1))
		elsewhere.IP(fmt.Sprintf("link add left index %d type veth peer name end1 index %d", index+2, index+3))

		answered := func(from netip.AddrPort) {
			t.Helper()
			d := sockettest.Next(t, q.Datagrams())
			require.Equal(t, from, d.From)
			d.Release()
		}
		byIndex := netip.AddrPortFrom(peer.Addr().WithZone(fmt.Sprint(index)), peer.Port())
		if sockettest.NamesZones(c) {
			for _, to := range []netip.AddrPort{peer, byIndex} {
				var err error
				elsewhere.Do(func() { err = c.SendTo([]byte("one"), to) })
				require.NoError(t, err)
				answered(peer)
				elsewhere.Do(func() { _, err = c.SendBatch([]udp.Message{{Data: []byte("a"), To: to}, {Data: []byte("b"), To: to}}) })
				require.NoError(t, err)
				answered(peer)
				answered(peer)
			}
			dead := netip.AddrPortFrom(peer.Addr(), peer.Port()^1)
			require.NoError(t, c.SendTo([]byte("x"), dead))
			r := sockettest.Next(t, q.Refusals())
			require.Equal(t, dead, r.Peer)
			require.Equal(t, peer.Addr(), r.Offender)
		}
		for _, to := range []netip.AddrPort{peer, byIndex} {
			var cc *udp.ConnectedConn
			var err error
			elsewhere.Do(func() { cc, err = c.Connect(to) })
			require.NoError(t, err)
			require.Equal(t, peer, cc.RemoteAddrPort())
			require.Equal(t, "fe80::1%left", cc.LocalAddrPort().Addr().String())
			require.NoError(t, cc.Send([]byte("connected")))
			require.NoError(t, cc.SendTo([]byte("connected"), to))
			if sockettest.NamesZones(c) {
				answered(peer)
				answered(peer)
			}
			_, err = cc.Disconnect()
			require.NoError(t, err)
		}
	})
}

// Datagrams soon have the new name of an interface that was renamed, and a connected socket
// still accepts its peer.
func TestAnInterfaceIsRenamed(t *testing.T) {
	t.Run("unnoticed", func(t *testing.T) { renameInterface(t, func(*udp.ConnectedConn) {}) })
	// The send fails, and the socket can't be repaired: its interface is down, and when it is
	// up again it has another name.
	t.Run("a send meanwhile", func(t *testing.T) {
		renameInterface(t, func(c *udp.ConnectedConn) { require.Error(t, c.Send([]byte("x"))) })
	})
}

// renameInterface calls down while the interface is down.
func renameInterface(t *testing.T, down func(connected *udp.ConnectedConn)) {
	netns.Run(t, func() {
		q := udp.NewQueue(10, udp.DropOldest)
		here, c, before := zoned(t, q)
		if !sockettest.NamesZones(c) {
			t.Skip("package net remembers names for a minute")
		}
		var connected *udp.ConnectedConn
		answers := sockettest.NewRecorder()
		var err error
		here.Do(func() { connected, err = udp.Dial(context.Background(), "udp6", before.String(), answers) })
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, connected)
		answers.Next(t, "Started")
		require.NoError(t, connected.Send([]byte("x")))
		require.Equal(t, before, answers.Next(t, "Received").Datagram.From)
		require.NoError(t, c.SendTo([]byte("x"), before))
		require.Equal(t, before, sockettest.Next(t, q.Datagrams()).From)

		here.IP("link set left down")
		down(connected)
		here.IP("link set left name uplink")
		here.IP("link set uplink up")
		here.AwaitRunning("uplink")
		here.Addr("uplink", "fe80::1/64")

		after := netip.AddrPortFrom(before.Addr().WithZone("uplink"), before.Port())
		require.NoError(t, c.SendTo([]byte("x"), after), "the new name is known at once")
		require.Equal(t, after, sockettest.Next(t, q.Datagrams()).From)
		require.Eventually(t, func() bool { err = c.SendTo([]byte("x"), before); return err != nil }, sockettest.Patience, time.Millisecond,
			"the old name is not believed for long")
		require.ErrorIs(t, err, syscall.ENODEV, "and nothing leaves by another interface")
		require.Equal(t, udp.SendFailures{Unreachable: 1}, c.Stats().SendFailed)
		_, err = c.Connect(before)
		require.ErrorIs(t, err, syscall.ENODEV)
		require.NoError(t, connected.Send([]byte("x")))
		require.Equal(t, before, answers.Next(t, "Received").Datagram.From, "the peer is who it was")
		require.Zero(t, connected.Stats().Dropped)
	})
}

// The path MTU is that of the socket's network namespace, too.
func TestTheMTUIsOfTheSocketsNamespace(t *testing.T) {
	for _, connected := range []bool{true, false} {
		name := map[bool]string{true: "connected", false: "unconnected"}[connected]
		t.Run(name, func(t *testing.T) {
			netns.Run(t, func() {
				here, elsewhere := netns.New(t), netns.New(t)
				for ns, mtu := range map[*netns.NS]string{here: "1300", elsewhere: "1400"} {
					netns.Veth(t, ns, "left", ns, "right")
					ns.IP("link set left mtu " + mtu)
					ns.Addr("left", "192.0.2.1/24")
				}
				peer := netip.MustParseAddrPort("192.0.2.2:9")
				var c *udp.Conn
				var err error
				here.Do(func() {
					c, err = udp.Config{MTUDiscovery: udp.MTUDiscoveryDo}.Listen(context.Background(), "udp4", ":0", udp.BaseHandler{})
				})
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				if connected {
					_, err = c.Connect(peer)
					require.NoError(t, err)
				}
				elsewhere.Do(func() { err = c.SendTo(make([]byte, 1350), peer) })
				size, ok := errors.AsType[*udp.SizeError](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, udp.SizeError{Size: 1350, Max: 1300 - 28, MTU: 1300}, *size)
			})
		})
	}
}

// Every address that a socket reports has its zone, by name, and replies leave through it.
//
// Twisted: P5 UDPPortTestsMixin.test_getHostIPv6
// UDPPortTestsMixin.test_writeToIPv6Interface
func TestZonesAreKept(t *testing.T) {
	netns.Isolated(t, func() {
		here, there := netns.Self(t), netns.New(t)
		netns.Veth(t, here, "left", there, "right")
		here.Addr("left", "fe80::1/64")
		there.Addr("right", "fe80::2/64")

		server, client := sockettest.NewRecorder(), sockettest.NewRecorder()
		var peer *udp.Conn
		var err error
		there.Do(func() {
			peer, err = udp.Listen(t.Context(), "udp6", "[::]:0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				assert.NoError(t, d.Reply(d.Data))
			}))
		})
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, peer)
		to := netip.AddrPortFrom(netip.MustParseAddr("fe80::2%left"), peer.LocalAddrPort().Port())

		c, err := udp.Listen(t.Context(), "udp6", "[fe80::1%left]:0", server)
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, c)
		server.Next(t, "Started")
		require.Equal(t, "left", c.LocalAddrPort().Addr().Zone())
		require.NoError(t, c.SendTo([]byte("hello"), to))
		d := server.Next(t, "Received").Datagram
		require.Equal(t, to, d.From)
		require.Equal(t, "fe80::1%left", c.LocalAddrPort().Addr().String())
		require.Equal(t, "fe80::1", d.To().Addr().WithZone("").String())
		require.Contains(t, c.String(), "%left")

		// A connected socket accepts the datagrams of its own peer.
		cc, err := udp.Dial(t.Context(), "udp", to.String(), client)
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, cc)
		client.Next(t, "Started")
		require.Equal(t, to, cc.RemoteAddrPort())
		require.NoError(t, cc.Send([]byte("connected")))
		require.Equal(t, to, client.Next(t, "Received").Datagram.From)

		// An index instead of the name is the same zone.
		index := fmt.Sprint(here.Interface("left").Index)
		byIndex := netip.AddrPortFrom(to.Addr().WithZone(index), to.Port())
		require.NoError(t, cc.Reconnect(byIndex))
		require.NoError(t, cc.Send([]byte("by index")))
		require.Equal(t, to, client.Next(t, "Received").Datagram.From)
	})
}
