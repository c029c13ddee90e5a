package udp_test

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// One write to a port where nobody listens, on a socket that does nothing else,
// is reported once, and the socket stays open.
//
// Twisted: C5 C7 test_udp_internals.test_connectedReadImmediateError
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

// Each ICMP error is reported exactly once, whether a read or a later send met it, and
// fails no send.
//
// Twisted: P7
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
			stop(t, c)
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
//
// Twisted: W5 UDPTests.test_connectionRefused
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
			stop(t, c)
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
//
// Twisted: C8
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
	stop(t, c)
}

// Unconnected sockets hear nothing of refusals and are not harmed by them; with
// Config.PeerErrors they hear them.
//
// Twisted: W5 C5 UDPTests.test_connectionRefused UDPTests.test_serverReadFailure
// test_udp_internals.test_readImmediateError
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
			}
			requireSupported(t, err)
			closes(t, c)
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
			closes(t, client)
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
