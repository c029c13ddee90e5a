package addressing_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// While lo is down, as in a new network namespace, Listen and Dial still serve both families.
func TestListenWithoutLoopback(t *testing.T) {
	netns.Isolated(t, func() { // package net finds out once for the process
		here := netns.Self(t)
		here.IP("link set lo down")
		there := netns.New(t)
		netns.Veth(t, here, "eth0", there, "eth0")
		for i, ns := range []*netns.NS{here, there} {
			ns.Addr("eth0", fmt.Sprintf("192.0.2.%d/24", i+1))
			ns.Addr("eth0", fmt.Sprintf("2001:db8::%d/64", i+1))
		}
		for _, address := range []string{":0", ":7007"} {
			h := sockettest.NewRecorder()
			c, err := udp.Listen(t.Context(), "udp", address, h)
			require.NoError(t, err)
			sockettest.CloseAtEnd(t, c)
			h.Next(t, "Started")
			require.Equal(t, netip.IPv6Unspecified(), c.LocalAddrPort().Addr())
			var peer *udp.Conn
			answers := sockettest.NewRecorder()
			there.Do(func() { peer, err = udp.Listen(t.Context(), "udp", ":0", answers) })
			require.NoError(t, err)
			sockettest.CloseAtEnd(t, peer)
			answers.Next(t, "Started")
			for _, at := range []string{"192.0.2.", "2001:db8::"} {
				require.NoError(t, peer.SendTo([]byte("ask"), netip.AddrPortFrom(netip.MustParseAddr(at+"1"), c.LocalAddrPort().Port())))
				require.NoError(t, h.Next(t, "Received").Datagram.Reply([]byte("reply")))
				require.Equal(t, "reply", answers.Next(t, "Received").Data)

				d, err := udp.Dial(t.Context(), "udp", netip.AddrPortFrom(netip.MustParseAddr(at+"2"), peer.LocalAddrPort().Port()).String(), udp.BaseHandler{})
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, d)
				require.NoError(t, d.Send([]byte("dialled")))
				require.Equal(t, "dialled", answers.Next(t, "Received").Data)
			}
		}
		m, err := udp.ListenMulticast(t.Context(), "udp", ":0", udp.BaseHandler{}, netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff02::1234"))
		require.NoError(t, err)
		require.NoError(t, m.Close())
	})
}
