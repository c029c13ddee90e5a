package udp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"syscall"
	"testing"
	"time"

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
			n := sockettest.Refusals(50)
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
			n := sockettest.Refusals(100)
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
	for range sockettest.Refusals(20) {
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

// A view that a user has built without a socket returns errors from every method that can,
// and panics in none.
func TestViewsWithoutASocket(t *testing.T) {
	for _, v := range []any{
		&udp.ConnectedConn{}, &udp.ConnectedConn{Conn: new(udp.Conn)},
		&udp.MulticastConn{}, &udp.MulticastConn{Conn: new(udp.Conn)},
	} {
		value := reflect.ValueOf(v)
		for i := range value.NumMethod() {
			name, m := value.Type().Method(i).Name, value.Method(i)
			t.Run(fmt.Sprintf("%T.%s", v, name), func(t *testing.T) {
				args := make([]reflect.Value, m.Type().NumIn())
				for i := range args {
					args[i] = reflect.Zero(m.Type().In(i))
				}
				if name == "Shutdown" || name == "Run" {
					args[0] = reflect.ValueOf(context.Background())
				}
				if m.Type().IsVariadic() {
					args = args[:len(args)-1]
				}
				results := m.Call(args)
				if len(results) == 0 {
					return
				}
				last := results[len(results)-1]
				switch {
				case last.Type() == reflect.TypeFor[error]():
					require.False(t, last.IsNil())
					require.ErrorIs(t, last.Interface().(error), os.ErrInvalid)
				case last.Type() == reflect.TypeFor[<-chan struct{}]():
					<-last.Interface().(<-chan struct{})
				}
			})
		}
	}
}

// A view of the wrong socket returns errors too, and its other methods work.
func TestViewsOfAnotherSocket(t *testing.T) {
	c, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer func() { c.Close(); <-c.Done() }()
	group, peer := netip.MustParseAddr("239.1.2.3"), c.LocalAddrPort()

	m := udp.MulticastConn{Conn: c}
	require.ErrorIs(t, m.Join(group), os.ErrInvalid)
	require.ErrorIs(t, m.SetMulticastTTL(1), os.ErrInvalid)
	_, err = m.SendGroup([]byte("x"), group, 9)
	require.ErrorIs(t, err, os.ErrInvalid)
	require.Empty(t, m.Memberships())
	require.NoError(t, m.SendTo([]byte("x"), peer))

	cc := udp.ConnectedConn{Conn: c}
	require.ErrorIs(t, cc.Send([]byte("x")), syscall.ENOTCONN)
	require.ErrorIs(t, cc.Reconnect(peer), syscall.ENOTCONN)
	_, err = cc.Disconnect()
	require.ErrorIs(t, err, syscall.ENOTCONN)
	require.False(t, cc.RemoteAddrPort().IsValid())
	require.NoError(t, cc.SetWriteDeadline(time.Time{}))

	// What a user does to a view does not change the socket's own.
	mc, err := udp.ListenMulticast(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	socket := mc.Conn
	defer func() { socket.Close(); <-socket.Done() }()
	mc.Conn = c
	require.ErrorIs(t, mc.Join(group), os.ErrInvalid)
	again, ok := socket.Multicast()
	require.True(t, ok)
	require.NoError(t, again.SetMulticastTTL(1))
	mc.Conn = nil
	require.ErrorIs(t, mc.Join(group), os.ErrInvalid)
}
