package udp_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// What can't be listened to or dialled says why, as a net.OpError, and leaves
// nothing behind. Names and ports are in TestResolveErrors, groups and
// interfaces in TestBadMemberships.
//
// Twisted: L3 UDPTests.test_bindError
func TestWhatCanNotBeOpened(t *testing.T) {
	busy := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{}).LocalAddr().String()
	var none udp.Handler
	for _, test := range []struct {
		name, network, address string
		cfg                    udp.Config
		h                      udp.Handler
		is                     error
	}{
		{"a busy port", "udp4", busy, udp.Config{}, udp.BaseHandler{}, syscall.EADDRINUSE},
		{"a busy port with ReuseAddr, which its owner has not set", "udp4", busy, udp.Config{ReuseAddr: true}, udp.BaseHandler{}, syscall.EADDRINUSE},
		{"an address that is not ours", "udp4", "192.0.2.1:0", udp.Config{}, udp.BaseHandler{}, syscall.EADDRNOTAVAIL},
		{"a family that does not fit", "udp6", "127.0.0.1:0", udp.Config{}, udp.BaseHandler{}, udp.ErrFamily},
		{"a nil Handler", "udp4", "127.0.0.1:0", udp.Config{}, none, os.ErrInvalid},
		{"a nil Queue", "udp4", "127.0.0.1:0", udp.Config{}, (*udp.Queue)(nil), os.ErrInvalid},
		{"nil Workers", "udp4", "127.0.0.1:0", udp.Config{}, (*udp.Workers)(nil), os.ErrInvalid},
		{"a negative read buffer", "udp4", "127.0.0.1:0", udp.Config{ReadBuffer: -1}, udp.BaseHandler{}, os.ErrInvalid},
		{"a negative write buffer", "udp4", "127.0.0.1:0", udp.Config{WriteBuffer: -1}, udp.BaseHandler{}, os.ErrInvalid},
		{"a negative MaxDatagram", "udp4", "127.0.0.1:0", udp.Config{MaxDatagram: -1}, udp.BaseHandler{}, os.ErrInvalid},
		{"another network", "tcp", "127.0.0.1:0", udp.Config{}, udp.BaseHandler{}, nil},
		{"a Unix socket", "unixgram", "/nowhere", udp.Config{}, udp.BaseHandler{}, nil},
		{"no address", "udp4", "", udp.Config{}, udp.BaseHandler{}, nil},
		{"a port alone", "udp4", "53", udp.Config{}, udp.BaseHandler{}, nil},
		{"an IPv6 address without brackets", "udp6", "::1:53", udp.Config{}, udp.BaseHandler{}, nil},
		{"a port out of range", "udp4", "127.0.0.1:65536", udp.Config{}, udp.BaseHandler{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := sockettest.NewRecorder()
			if test.h == (udp.BaseHandler{}) {
				test.h = h
			}
			c, err := test.cfg.Listen(t.Context(), test.network, test.address, test.h)
			require.Nil(t, c)
			sockettest.RequireOpError(t, err, "listen")
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			m, err := test.cfg.ListenMulticast(t.Context(), test.network, test.address, test.h)
			require.Nil(t, m)
			sockettest.RequireOpError(t, err, "listen")
			if test.is == nil || test.is == os.ErrInvalid || test.is == udp.ErrFamily {
				cc, err := test.cfg.Dial(t.Context(), test.network, test.address, test.h)
				require.Nil(t, cc)
				sockettest.RequireOpError(t, err, "dial")
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
			}
			require.Empty(t, h.Names(), "the Handler hears nothing of it")
		})
	}
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err, "and the process can still open sockets")
	require.NoError(t, c.Close())
}

// What can't be sent says why before any system call, or with the system's own
// errno, and is counted by the reason.
//
// Twisted: W1 W2 W4
// UDPPortTestsMixin.test_writingToIPv6OnIPv4RaisesInvalidAddressError
// UDPPortTestsMixin.test_writingToIPv4OnIPv6RaisesInvalidAddressError
func TestWhatCanNotBeSent(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			v4, v6 := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("[::1]:9")
			fits, other, largest := v4, v6, largestIPv4
			if network == "udp6" {
				fits, other, largest = v6, v4, largestIPv6
			}
			reasons := func(s udp.Stats) udp.SendFailures { return s.SendFailed }
			for _, test := range []struct {
				name   string
				data   []byte
				to     netip.AddrPort
				is     error
				reason udp.SendFailures
			}{
				{"the other family", nil, other, udp.ErrFamily, udp.SendFailures{Family: 1}},
				{"no address", nil, netip.AddrPort{}, nil, udp.SendFailures{Family: 1}},
				{"a port without an address", nil, netip.AddrPortFrom(netip.Addr{}, 9), nil, udp.SendFailures{Family: 1}},
				{"port 0", nil, netip.AddrPortFrom(fits.Addr(), 0), nil, udp.SendFailures{Family: 1}},
				{"one byte too long", make([]byte, largest+1), fits, udp.ErrTooLarge, udp.SendFailures{TooLarge: 1}},
				{"far too long", make([]byte, 1<<20), fits, udp.ErrTooLarge, udp.SendFailures{TooLarge: 1}},
			} {
				t.Run(test.name, func(t *testing.T) {
					c := sockettest.Listen(t, udp.Config{}, network, udp.BaseHandler{})
					err := c.SendTo(test.data, test.to)
					sockettest.RequireOpError(t, err, "send")
					if test.is != nil {
						require.ErrorIs(t, err, test.is)
					} else {
						require.ErrorAs(t, err, new(*net.AddrError))
					}
					require.Equal(t, test.reason, reasons(c.Stats()))
					require.Zero(t, c.Stats().Sent)

					// In a batch it fails alone.
					sink := sockettest.ListenNet(t, network)
					n, err := c.SendBatch([]udp.Message{
						{Data: []byte("before"), To: sockettest.AddrPort(sink)}, {Data: test.data, To: test.to}, {Data: []byte("after"), To: sockettest.AddrPort(sink)},
					})
					require.Equal(t, 2, n)
					sockettest.RequireOpError(t, err, "send")
					if test.is != nil {
						require.ErrorIs(t, err, test.is)
					}
					require.NoError(t, c.SendTo([]byte("next"), sockettest.AddrPort(sink)))
					for _, want := range []string{"before", "after", "next"} {
						data, _ := sockettest.Read(t, sink)
						require.Equal(t, want, data)
					}
					require.EqualValues(t, 3, c.Stats().Sent)
				})
			}
			t.Run("a SizeError has the sizes", func(t *testing.T) {
				c := sockettest.Listen(t, udp.Config{}, network, udp.BaseHandler{})
				err := c.SendTo(make([]byte, largest+1), fits)
				var se *udp.SizeError
				require.ErrorAs(t, err, &se)
				require.Equal(t, udp.SizeError{Size: largest + 1, Max: largest}, *se)
				require.ErrorIs(t, err, syscall.EMSGSIZE)
				require.Contains(t, err.Error(), "too long")
			})
		})
	}
}

// Broadcasts need Config.Broadcast.
//
// Twisted: L5 B1 UDPPortTestsMixin.test_allowBroadcast
func TestBroadcast(t *testing.T) {
	to := netip.MustParseAddrPort("127.255.255.255:9") // loopback's broadcast address stays there
	without := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
	err := without.SendTo([]byte("x"), to)
	sockettest.RequireOpError(t, err, "send")
	require.ErrorIs(t, err, syscall.EACCES)
	require.EqualValues(t, 1, without.Stats().SendErrors)
	with := sockettest.Listen(t, udp.Config{Broadcast: true}, "udp4", udp.BaseHandler{})
	require.NoError(t, with.SendTo([]byte("x"), to))
}

// A broadcast arrives with the address it was sent to, and the answer leaves
// from one of ours.
func TestBroadcastArrives(t *testing.T) {
	h, server := sockettest.NewRecorder(), sockettest.NewRecorder()
	server.OnReceived = func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply([]byte("pong")) }
	s, err := udp.Listen(t.Context(), "udp4", ":0", server)
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, s)
	server.Next(t, "Started")
	c := sockettest.Listen(t, udp.Config{Broadcast: true}, "udp4", h)
	h.Next(t, "Started")
	require.NoError(t, c.SendTo([]byte("ping"), netip.AddrPortFrom(netip.MustParseAddr("127.255.255.255"), s.LocalAddrPort().Port())))
	e := server.Next(t, "Received")
	if s.Info().PacketInfo {
		require.Equal(t, "127.255.255.255", e.Datagram.To().Addr().String())
	}
	e = h.Next(t, "Received")
	require.Equal(t, "pong", e.Data)
	require.Equal(t, "127.0.0.1", e.Datagram.From.Addr().String())
}

// After Close everything says net.ErrClosed, and the counters stay.
//
// Twisted: W8
func TestAfterClose(t *testing.T) {
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
	local := c.LocalAddrPort()
	sockettest.Stop(t, c)
	for name, err := range map[string]error{
		"SendTo":           c.SendTo(nil, local),
		"SetWriteDeadline": c.SetWriteDeadline(time.Now()),
	} {
		require.ErrorIs(t, err, net.ErrClosed, name)
		require.ErrorAs(t, err, new(*net.OpError), name)
	}
	n, err := c.SendBatch([]udp.Message{{To: local}})
	require.Zero(t, n)
	require.ErrorIs(t, err, net.ErrClosed)
	require.Equal(t, local, c.LocalAddrPort())
	require.EqualValues(t, 2, c.Stats().SendFailed.Closed)
	require.NotPanics(t, func() { c.Info() })
}

// A write deadline that has passed ends a send that would wait, and no other.
//
// Twisted: W6
func TestWriteDeadline(t *testing.T) {
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
	require.NoError(t, c.SetWriteDeadline(time.Unix(1, 0)))
	err := c.SendTo([]byte("x"), c.LocalAddrPort())
	sockettest.RequireOpError(t, err, "send")
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout())
	require.EqualValues(t, 1, c.Stats().SendFailed.Deadline)
	require.NoError(t, c.SetWriteDeadline(time.Time{}))
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
}

// Errors read as package net's do.
func TestErrorsReadWell(t *testing.T) {
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
	err := c.SendTo(nil, netip.MustParseAddrPort("[::1]:9"))
	require.Equal(t, "send udp4 "+c.LocalAddr().String()+"->[::1]:9: udp: address family does not fit the socket", err.Error())
	r := &udp.Refusal{Peer: netip.MustParseAddrPort("192.0.2.1:9"), Err: syscall.ECONNREFUSED}
	require.Equal(t, "udp: datagram to 192.0.2.1:9 was refused: connection refused", r.Error())
	r.Offender, r.Type, r.Code = netip.MustParseAddr("192.0.2.254"), 3, 1
	require.True(t, strings.HasSuffix(r.Error(), "(ICMP type 3 code 1 from 192.0.2.254)"))
	se := &udp.SizeError{Size: 2000, MTU: 1500}
	require.Equal(t, "2000 bytes: message too long, path MTU 1500", se.Error())
}

// A zero Queue or Workers would wait for ever, or panic for each datagram.
func TestHandlersThatWereNotMadeAreRefused(t *testing.T) {
	for _, h := range []udp.Handler{new(udp.Queue), new(udp.Workers)} {
		_, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", h)
		require.ErrorIs(t, err, os.ErrInvalid, "%T", h)
	}
}

func TestAContextThatHasEndedBindsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = udp.Dial(ctx, "udp4", "127.0.0.1:9", udp.BaseHandler{})
	require.ErrorIs(t, err, context.Canceled)
}

// As in package net.
func TestDialWithoutAHostMeansThisOne(t *testing.T) {
	for network, want := range map[string]string{"udp": "127.0.0.1:9", "udp4": "127.0.0.1:9"} {
		c, err := udp.Dial(t.Context(), network, ":9", udp.BaseHandler{})
		require.NoError(t, err)
		require.Equal(t, want, c.RemoteAddrPort().String())
		sockettest.Stop(t, c)
	}
}
