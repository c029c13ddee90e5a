package udp_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// One write to a port where nobody listens, on a socket that does nothing else,
// is reported once, and the socket stays open.
//
// Twisted: C5 C7 test_udp_internals.test_connectedReadImmediateError
func TestSingleWriteToADeadPortIsRefused(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			h := sockettest.NewRecorder()
			dead, revive := sockettest.HoldPort(t, network)
			c := sockettest.Dial(t, dead, h)
			h.Next(t, "Started")
			require.NoError(t, c.Send([]byte("anybody?")))
			r := h.Next(t, "Refused").Refusal
			sockettest.RequireRefused(t, c.Conn, r, dead, "anybody?")

			peer := revive()
			require.NoError(t, c.Send([]byte("now?")))
			data, from := sockettest.Read(t, peer)
			require.Equal(t, "now?", data)
			require.Equal(t, c.LocalAddrPort(), from)
			_, err := peer.WriteToUDPAddrPort([]byte("yes"), c.LocalAddrPort())
			require.NoError(t, err)
			require.Equal(t, "yes", h.Next(t, "Received").Data)
			s := c.Stats()
			require.EqualValues(t, 1, s.Refused)
			require.EqualValues(t, 2, s.Sent)
			require.Zero(t, s.SendErrors)
		})
	}
}

// Each ICMP error is reported exactly once, whether a read or a later send met it, and
// fails no send.
//
// Twisted: P7
func TestOneRefusedForEachICMPMessage(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			const n = 50 // fewer than ICMP messages a second are limited to on loopback
			h := sockettest.NewRecorder()
			dead := sockettest.DeadPort(t, network)
			c := sockettest.Dial(t, dead, h)
			h.Next(t, "Started")
			for range n {
				require.NoError(t, c.Send([]byte("x")))
				// Linux without an error queue keeps one pending error only, so that a
				// second message would replace the first: one after another.
				sockettest.RequireRefused(t, c.Conn, h.Next(t, "Refused").Refusal, dead, "x")
			}
			sockettest.Stop(t, c)
			require.Equal(t, []string{"Stopped"}, h.Names())
			s := c.Stats()
			require.EqualValues(t, n, s.Sent)
			require.EqualValues(t, n, s.Refused)
			require.Zero(t, s.SendErrors)
		})
	}
}

// Sends in a row to a dead port meet each other's errors: all of them are
// repeated, none fails, and what the Handler hears is never more than was sent.
//
// Twisted: W5 UDPTests.test_connectionRefused
func TestSendThatMeetsAnOlderErrorIsRepeated(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			const n = 100
			h := sockettest.NewRecorder()
			// While Started runs nothing reads, so the sends themselves meet the errors.
			h.OnStarted = func(c *udp.Conn) {
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
			dead, revive := sockettest.HoldPort(t, network)
			c := sockettest.Dial(t, dead, h)
			h.Next(t, "Started")
			h.Next(t, "Refused")
			peer := revive()
			require.NoError(t, c.Send([]byte("last")))
			data, _ := sockettest.Read(t, peer)
			require.Equal(t, "last", data, "and nothing twice")
			sockettest.Stop(t, c)
			s := c.Stats()
			require.LessOrEqual(t, s.Refused, uint64(n))
			require.Zero(t, s.SendErrors)
		})
	}
}

// The send that only met an older datagram's error is delivered, when somebody
// listens by then.
//
// Twisted: W5
func TestSendAfterARefusalIsDelivered(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			h := sockettest.NewRecorder()
			dead, revive := sockettest.HoldPort(t, network)
			var peer *net.UDPConn
			h.OnStarted = func(c *udp.Conn) {
				cc, _ := c.Connected()
				assert.NoError(t, cc.Send([]byte("too early")))
				peer = revive()
				assert.NoError(t, cc.Send([]byte("in time")))
				assert.NoError(t, c.Flush())
			}
			c := sockettest.Dial(t, dead, h)
			h.Next(t, "Started")
			require.NotNil(t, peer)
			data, _ := sockettest.Read(t, peer)
			require.Equal(t, "in time", data)
			sockettest.RequireRefused(t, c.Conn, h.Next(t, "Refused").Refusal, dead, "too early")
			require.EqualValues(t, 1, c.Stats().Retried)
		})
	}
}

// A handler that writes from Refused does not keep the socket from its other
// work, as Twisted's does, and Close ends it.
//
// Twisted: C8
func TestWritingInRefused(t *testing.T) {
	h := sockettest.NewRecorder()
	h.OnRefused = func(c *udp.Conn, _ *udp.Refusal) {
		if cc, ok := c.Connected(); ok {
			_ = cc.Send([]byte("again"))
		}
	}
	c := sockettest.Dial(t, sockettest.DeadPort(t, "udp4"), h)
	h.Next(t, "Started")
	require.NoError(t, c.Send([]byte("first")))
	for range 20 {
		h.Next(t, "Refused")
	}
	sockettest.Stop(t, c)
}

// Unconnected sockets hear nothing of refusals and are not harmed by them; with
// Config.PeerErrors they hear them.
//
// Twisted: W5 C5 UDPTests.test_connectionRefused UDPTests.test_serverReadFailure
// test_udp_internals.test_readImmediateError
func TestRefusalsOnUnconnectedSockets(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			h := sockettest.NewRecorder()
			c := sockettest.Listen(t, udp.Config{}, network, h)
			h.Next(t, "Started")
			dead := sockettest.DeadPort(t, network)
			for range 10 {
				require.NoError(t, c.SendTo([]byte("x"), dead))
				require.NoError(t, c.SendTo([]byte("y"), c.LocalAddrPort()))
				require.Equal(t, "y", h.Next(t, "Received").Data)
			}
			require.Zero(t, c.Stats().Refused)
			require.EqualValues(t, 20, c.Stats().Sent)
		})
		t.Run(network+" with PeerErrors", func(t *testing.T) {
			h := sockettest.NewRecorder()
			c, err := udp.Config{PeerErrors: true}.Listen(t.Context(), network, sockettest.Loopback(network)+":0", h)
			if err != nil {
				sockettest.RequireOpError(t, err, "listen")
			}
			sockettest.RequireSupported(t, err)
			sockettest.CloseAtEnd(t, c)
			require.True(t, c.Info().ErrorQueue)
			h.Next(t, "Started")
			for _, dead := range []netip.AddrPort{sockettest.DeadPort(t, network), sockettest.DeadPort(t, network)} {
				require.NoError(t, c.SendTo([]byte("x"), dead))
				sockettest.RequireRefused(t, c, h.Next(t, "Refused").Refusal, dead, "x")
				require.NoError(t, c.SendTo([]byte("y"), c.LocalAddrPort()))
				require.Equal(t, "y", h.Next(t, "Received").Data)
			}
			require.Zero(t, c.Stats().SendErrors)
		})
	}
}

// Dial takes the host that it has a route to.
func TestDial(t *testing.T) {
	server := sockettest.NewRecorder()
	server.OnReceived = func(_ *udp.Conn, d udp.Datagram) { assert.NoError(t, d.Reply(d.Data)) }
	c := sockettest.Listen(t, udp.Config{}, "udp4", server)
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	require.NoError(t, err)
	for _, test := range []struct{ name, network, address string }{
		{"an address", "udp", c.LocalAddr().String()},
		{"a name", "udp4", "localhost:" + port},
		{"the unspecified address is this host", "udp", "0.0.0.0:" + port},
		{"no host is this host", "udp4", ":" + port},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := sockettest.NewRecorder()
			client, err := udp.Dial(t.Context(), test.network, test.address, h)
			require.NoError(t, err)
			sockettest.CloseAtEnd(t, client)
			require.Equal(t, c.LocalAddrPort(), client.RemoteAddrPort())
			h.Next(t, "Started")
			require.NoError(t, client.Send([]byte("hello")))
			require.Equal(t, "hello", h.Next(t, "Received").Data)
		})
	}
	_, err = udp.Dial(context.Background(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	sockettest.RequireOpError(t, err, "dial")
	require.ErrorAs(t, err, new(*net.AddrError))
}
