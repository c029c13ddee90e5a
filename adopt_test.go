package udp_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// unowned makes a socket of package net that an Adopt will own.
func unowned(t testing.TB, network string) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenPacket(network, loopback(network)+":0")
	require.NoError(t, err)
	return pc.(*net.UDPConn)
}

// A socket that was made elsewhere works as one of ours.
//
// Twisted: A1
func TestAdopt(t *testing.T) {
	for _, network := range networks(t) {
		t.Run(network, func(t *testing.T) {
			uc := unowned(t, network)
			at := addrPort(uc)
			peer := raw(t, network)
			_, err := peer.WriteToUDPAddrPort([]byte("before"), at)
			require.NoError(t, err)

			h := newRecorder()
			h.received = func(_ *udp.Conn, d udp.Datagram) { assert.NoError(t, d.Reply(d.Data)) }
			c, err := udp.Config{}.Adopt(uc, h)
			require.NoError(t, err)
			closes(t, c)
			require.Equal(t, at, c.LocalAddrPort())
			_, ok := c.Connected()
			require.False(t, ok)
			h.next(t, "Started")
			require.Equal(t, "before", h.next(t, "Received").data, "what was queued is not lost")
			data, from := read(t, peer)
			require.Equal(t, "before", data)
			require.Equal(t, at, from)

			cc, err := c.Connect(addrPort(peer))
			require.NoError(t, err)
			require.NoError(t, cc.Send([]byte("connected")))
			read(t, peer)
			_, err = cc.Disconnect()
			require.NoError(t, err)
			require.NoError(t, c.SendTo([]byte("free"), addrPort(peer)))
			read(t, peer)

			stop(t, c)
			require.ErrorIs(t, uc.Close(), net.ErrClosed, "it was ours")
		})
	}
}

// A connected socket stays connected, and can be disconnected.
//
// Twisted: A1
func TestAdoptConnected(t *testing.T) {
	for _, network := range networks(t) {
		t.Run(network, func(t *testing.T) {
			peer, other := raw(t, network), raw(t, network)
			uc, err := net.DialUDP(network, nil, peer.LocalAddr().(*net.UDPAddr))
			require.NoError(t, err)
			h := newRecorder()
			c, err := udp.Config{}.Adopt(uc, h)
			require.NoError(t, err)
			closes(t, c)
			h.next(t, "Started")
			cc, ok := c.Connected()
			require.True(t, ok)
			require.Equal(t, addrPort(peer), cc.RemoteAddrPort())
			local := c.LocalAddrPort()

			require.NoError(t, cc.Send([]byte("hello")))
			_, from := read(t, peer)
			require.Equal(t, local, from)
			_, err = peer.WriteToUDPAddrPort([]byte("back"), local)
			require.NoError(t, err)
			require.Equal(t, "back", h.next(t, "Received").data)

			require.NoError(t, cc.Reconnect(addrPort(other)))
			require.NoError(t, cc.Send([]byte("other")))
			data, from := read(t, other)
			require.Equal(t, "other", data)
			require.Equal(t, local.Port(), from.Port())

			_, err = cc.Disconnect()
			require.NoError(t, err)
			require.Equal(t, local.Port(), c.LocalAddrPort().Port())
			require.NoError(t, c.SendTo([]byte("free"), addrPort(peer)))
			data, from = read(t, peer)
			require.Equal(t, "free", data)
			require.Equal(t, local.Port(), from.Port())

			stop(t, cc.Conn)
		})
	}
}

// An adopted socket to a dead port hears of refusals.
func TestAdoptedSocketIsRefused(t *testing.T) {
	dead := deadPort(t, "udp4")
	uc, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(dead))
	require.NoError(t, err)
	h := newRecorder()
	c, err := udp.Config{}.Adopt(uc, h)
	require.NoError(t, err)
	closes(t, c)
	h.next(t, "Started")
	cc, _ := c.Connected()
	require.NoError(t, cc.Send([]byte("x")))
	requireRefused(t, c, h.next(t, "Refused").r, dead, "x")
}

// What can't be adopted is closed all the same, and the Handler hears nothing.
//
// Twisted: A2
func TestAdoptErrors(t *testing.T) {
	h := newRecorder()
	_, err := udp.Config{}.Adopt(nil, h)
	requireOpError(t, err, "adopt")
	require.ErrorIs(t, err, syscall.EINVAL)

	_, err = udp.Config{}.Adopt(&net.UDPConn{}, h)
	requireOpError(t, err, "adopt")
	require.ErrorIs(t, err, syscall.EINVAL)

	closed := unowned(t, "udp4")
	require.NoError(t, closed.Close())
	_, err = udp.Config{}.Adopt(closed, h)
	requireOpError(t, err, "adopt")
	require.ErrorIs(t, err, net.ErrClosed)

	for name, cfg := range map[string]udp.Config{"a nil Handler": {}, "a bad Config": {ReadBuffer: -1}} {
		t.Run(name, func(t *testing.T) {
			uc := unowned(t, "udp4")
			var handler udp.Handler
			if name == "a bad Config" {
				handler = h
			}
			_, err := cfg.Adopt(uc, handler)
			requireOpError(t, err, "adopt")
			require.ErrorIs(t, uc.Close(), net.ErrClosed)
		})
	}
	require.Empty(t, h.names())
}

// A socket made for IPv4 by Adopt knows its family.
//
// Twisted: A3
func TestAdoptKnowsTheFamily(t *testing.T) {
	for _, network := range networks(t) {
		c, err := udp.Config{}.Adopt(unowned(t, network), udp.BaseHandler{})
		require.NoError(t, err)
		closes(t, c)
		to := netip.MustParseAddrPort("[::1]:9")
		if network == "udp6" {
			to = netip.MustParseAddrPort("127.0.0.1:9")
		}
		require.ErrorIs(t, c.SendTo(nil, to), udp.ErrFamily)
	}
	dual, err := net.ListenPacket("udp", ":0")
	require.NoError(t, err)
	c, err := udp.Config{}.Adopt(dual.(*net.UDPConn), udp.BaseHandler{})
	require.NoError(t, err)
	closes(t, c)
	require.NoError(t, errors.Join(c.SendTo(nil, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), c.LocalAddrPort().Port()))))
}

// Deadlines of its former owner that have passed do not get in the way.
func TestAdoptForgetsDeadlines(t *testing.T) {
	uc := unowned(t, "udp4")
	require.NoError(t, uc.SetDeadline(time.Unix(1, 0)))
	h := newRecorder()
	c, err := udp.Config{}.Adopt(uc, h)
	require.NoError(t, err)
	closes(t, c)
	h.next(t, "Started")
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	require.Equal(t, "x", h.next(t, "Received").data)
}

// A socket that is adopted with a peer says where each datagram was sent to once
// the peer is taken away: then it may hear more than one address.
func TestAdoptedAndDisconnected(t *testing.T) {
	peer := raw(t, "udp4")
	// With a port of its own Linux knows it as bound to every address.
	var local uint16
	var uc *net.UDPConn
	for range 10 { // another program may be given the port meanwhile
		port := raw(t, "udp4")
		local = addrPort(port).Port()
		require.NoError(t, port.Close())
		var err error
		if uc, err = net.DialUDP("udp4", &net.UDPAddr{Port: int(local)}, net.UDPAddrFromAddrPort(addrPort(peer))); err == nil {
			break
		}
	}
	require.NotNil(t, uc)
	h := newRecorder()
	c, err := udp.Config{}.Adopt(uc, h)
	require.NoError(t, err)
	closes(t, c)
	h.next(t, "Started")
	cc, ok := c.Connected()
	require.True(t, ok)
	_, err = cc.Disconnect()
	require.NoError(t, err)
	if !c.LocalAddrPort().Addr().IsUnspecified() || !c.Info().PacketInfo {
		t.Skip("it hears one address, ", c.LocalAddrPort())
	}
	other := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), local)
	if _, err := peer.WriteToUDPAddrPort([]byte("x"), other); err != nil {
		t.Skip(err)
	}
	require.Equal(t, other.Addr(), h.next(t, "Received").d.To().Addr())
}
