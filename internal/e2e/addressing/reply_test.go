package addressing_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// A reply leaves from the address that was asked, on a socket with many addresses.
func TestReplyLeavesFromTheAddressThatWasAsked(t *testing.T) {
	echo := udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { assert.NoError(t, d.Reply(d.Data)) })
	for _, test := range []struct {
		name, network, bind string
		ask                 []string
	}{
		{"IPv4", "udp4", ":0", []string{"127.0.0.1", "127.0.0.55", "192.0.2.1", "192.0.2.77"}},
		{"IPv4 named", "udp4", "0.0.0.0:0", []string{"127.0.0.55", "192.0.2.77"}},
		{"IPv6", "udp6", ":0", []string{"::1", "fd00::55", "2001:db8::1", "2001:db8::77", "fe80::1%left"}},
		{"both", "udp", ":0", []string{"127.0.0.1", "::1", "127.0.0.55", "fd00::55", "192.0.2.77", "2001:db8::77"}},
		{"both, named as IPv6", "udp", "[::]:0", []string{"127.0.0.55", "fd00::55"}},
		{"one address", "udp", "127.0.0.55:0", []string{"127.0.0.55"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			netns.Isolated(t, func() {
				here, there := netns.Self(t), netns.New(t)
				netns.Veth(t, here, "left", there, "right")
				here.Addr("left", "192.0.2.1/24", "192.0.2.77/24", "2001:db8::1/64", "2001:db8::77/64", "fe80::1/64")
				here.Addr("lo", "fd00::55/128")
				there.Addr("right", "192.0.2.2/24", "2001:db8::2/64", "fe80::2/64")
				c, err := udp.Listen(t.Context(), test.network, test.bind, echo)
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				for _, host := range test.ask {
					to := netip.AddrPortFrom(netip.MustParseAddr(host), c.LocalAddrPort().Port())
					dial := func() {
						h := sockettest.NewRecorder()
						if to.Addr().Zone() != "" {
							client, err := udp.Listen(t.Context(), "udp6", "[::]:0", h)
							require.NoError(t, err)
							sockettest.CloseAtEnd(t, client)
							h.Next(t, "Started")
							require.NoError(t, client.SendTo(nil, netip.AddrPortFrom(to.Addr().WithZone("right"), to.Port())))
							require.Equal(t, "fe80::1", h.Next(t, "Received").Datagram.From.Addr().WithZone("").String())
							return
						}
						// Connected, so that a response from elsewhere would be dropped.
						client, err := udp.Dial(t.Context(), "udp", to.String(), h)
						require.NoError(t, err)
						sockettest.CloseAtEnd(t, client)
						h.Next(t, "Started")
						require.NoError(t, client.Send([]byte(host)))
						e := h.Next(t, "Received")
						require.Equal(t, host, e.Data)
						require.Equal(t, to, e.Datagram.From)
					}
					if a := to.Addr(); a.IsLoopback() || host == "fd00::55" {
						dial()
					} else {
						there.Do(dial) // from outside
					}
				}
			})
		})
	}
}

// SendBatch sends from the address that the message names.
func TestMessageFrom(t *testing.T) {
	h := sockettest.NewRecorder()
	c, err := udp.Listen(t.Context(), "udp4", ":0", udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	if !c.Info().PacketInfo {
		t.Skip("this system takes no source address")
	}
	to := sockettest.Listen(t, udp.Config{}, "udp4", h).LocalAddrPort()
	h.Next(t, "Started")
	one, two := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	n, err := c.SendBatch([]udp.Message{
		{Data: []byte("a"), To: to, From: one},
		{Data: []byte("b"), To: to, From: two},
		{Data: []byte("c"), To: to, From: netip.AddrFrom16(two.As16())}, // as 4-in-6
		{Data: []byte("d"), To: to},
	})
	require.NoError(t, err)
	require.Equal(t, 4, n)
	for _, want := range []struct {
		data string
		from netip.Addr
	}{{"a", one}, {"b", two}, {"c", two}, {"d", one}} {
		e := h.Next(t, "Received")
		require.Equal(t, want.data, e.Data)
		require.Equal(t, netip.AddrPortFrom(want.from, c.LocalAddrPort().Port()), e.Datagram.From)
	}

	_, err = c.SendBatch([]udp.Message{{To: to, From: netip.IPv6Loopback()}})
	require.ErrorIs(t, err, udp.ErrFamily)
	n, err = c.SendBatch([]udp.Message{{To: to}, {To: to, From: netip.MustParseAddr("192.0.2.99")}, {To: to}})
	sockettest.RequireOpError(t, err, "send")
	require.Equal(t, 2, n, "an address that is not ours fails alone")
}
