package udp_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

// adopt makes a Conn of a socket, whose Recorder has been started.
func adopt(t *testing.T, uc *net.UDPConn) (*udp.Conn, *sockettest.Recorder) {
	t.Helper()
	h := sockettest.NewRecorder()
	c, err := udp.Config{}.Adopt(uc, h)
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	h.Next(t, "Started")
	return c, h
}

// detach skips the test where sockets cannot be detached.
func detach(t *testing.T, c interface{ Detach() (*net.UDPConn, error) }) *net.UDPConn {
	t.Helper()
	uc, err := c.Detach()
	sockettest.RequireSupported(t, err)
	return uc
}

// A socket that was made elsewhere works as one of ours.
//
// Twisted: A1
func TestAdopt(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			uc := sockettest.Unowned(t, network)
			at := sockettest.AddrPort(uc)
			peer := sockettest.ListenNet(t, network)
			_, err := peer.WriteToUDPAddrPort([]byte("before"), at)
			require.NoError(t, err)

			h := sockettest.NewRecorder()
			h.OnReceived = func(_ *udp.Conn, d udp.Datagram) { assert.NoError(t, d.Reply(d.Data)) }
			c, err := udp.Config{}.Adopt(uc, h)
			require.NoError(t, err)
			sockettest.CloseAtEnd(t, c)
			require.Equal(t, at, c.LocalAddrPort())
			_, ok := c.Connected()
			require.False(t, ok)
			h.Next(t, "Started")
			require.Equal(t, "before", h.Next(t, "Received").Data, "what was queued is not lost")
			data, from := sockettest.Read(t, peer)
			require.Equal(t, "before", data)
			require.Equal(t, at, from)

			cc, err := c.Connect(sockettest.AddrPort(peer))
			require.NoError(t, err)
			require.NoError(t, cc.Send([]byte("connected")))
			sockettest.Read(t, peer)
			_, err = cc.Disconnect()
			require.NoError(t, err)
			require.NoError(t, c.SendTo([]byte("free"), sockettest.AddrPort(peer)))
			sockettest.Read(t, peer)

			sockettest.Stop(t, c)
			require.ErrorIs(t, uc.Close(), net.ErrClosed, "it was ours")
		})
	}
}

// A connected socket stays connected, and can be disconnected.
//
// Twisted: A1
func TestAdoptConnected(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			peer, other := sockettest.ListenNet(t, network), sockettest.ListenNet(t, network)
			uc, err := net.DialUDP(network, nil, peer.LocalAddr().(*net.UDPAddr))
			require.NoError(t, err)
			c, h := adopt(t, uc)
			cc, ok := c.Connected()
			require.True(t, ok)
			require.Equal(t, sockettest.AddrPort(peer), cc.RemoteAddrPort())
			local := c.LocalAddrPort()

			require.NoError(t, cc.Send([]byte("hello")))
			_, from := sockettest.Read(t, peer)
			require.Equal(t, local, from)
			_, err = peer.WriteToUDPAddrPort([]byte("back"), local)
			require.NoError(t, err)
			require.Equal(t, "back", h.Next(t, "Received").Data)

			require.NoError(t, cc.Reconnect(sockettest.AddrPort(other)))
			require.NoError(t, cc.Send([]byte("other")))
			data, from := sockettest.Read(t, other)
			require.Equal(t, "other", data)
			require.Equal(t, local.Port(), from.Port())

			_, err = cc.Disconnect()
			require.NoError(t, err)
			require.Equal(t, local.Port(), c.LocalAddrPort().Port())
			require.NoError(t, c.SendTo([]byte("free"), sockettest.AddrPort(peer)))
			data, from = sockettest.Read(t, peer)
			require.Equal(t, "free", data)
			require.Equal(t, local.Port(), from.Port())

			sockettest.Stop(t, cc.Conn)
		})
	}
}

// An adopted socket to a dead port hears of refusals.
func TestAdoptedSocketIsRefused(t *testing.T) {
	dead := sockettest.DeadPort(t, "udp4")
	uc, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(dead))
	require.NoError(t, err)
	c, h := adopt(t, uc)
	cc, _ := c.Connected()
	require.NoError(t, cc.Send([]byte("x")))
	sockettest.RequireRefused(t, c, h.Next(t, "Refused").Refusal, dead, "x")
}

// What can't be adopted is closed all the same, and the Handler hears nothing.
//
// Twisted: A2
func TestAdoptErrors(t *testing.T) {
	h := sockettest.NewRecorder()
	_, err := udp.Config{}.Adopt(nil, h)
	sockettest.RequireOpError(t, err, "adopt")
	require.ErrorIs(t, err, syscall.EINVAL)

	_, err = udp.Config{}.Adopt(&net.UDPConn{}, h)
	sockettest.RequireOpError(t, err, "adopt")
	require.ErrorIs(t, err, syscall.EINVAL)

	closed := sockettest.Unowned(t, "udp4")
	require.NoError(t, closed.Close())
	_, err = udp.Config{}.Adopt(closed, h)
	sockettest.RequireOpError(t, err, "adopt")
	require.ErrorIs(t, err, net.ErrClosed)

	for name, cfg := range map[string]udp.Config{"a nil Handler": {}, "a bad Config": {ReadBuffer: -1}} {
		t.Run(name, func(t *testing.T) {
			uc := sockettest.Unowned(t, "udp4")
			var handler udp.Handler
			if name == "a bad Config" {
				handler = h
			}
			_, err := cfg.Adopt(uc, handler)
			sockettest.RequireOpError(t, err, "adopt")
			require.ErrorIs(t, uc.Close(), net.ErrClosed)
		})
	}
	require.Empty(t, h.Names())
}

// A socket made for IPv4 by Adopt knows its family.
//
// Twisted: A3
func TestAdoptKnowsTheFamily(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		c, err := udp.Config{}.Adopt(sockettest.Unowned(t, network), udp.BaseHandler{})
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, c)
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
	sockettest.CloseAtEnd(t, c)
	require.NoError(t, errors.Join(c.SendTo(nil, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), c.LocalAddrPort().Port()))))
}

// Deadlines of its former owner that have passed do not get in the way.
func TestAdoptForgetsDeadlines(t *testing.T) {
	uc := sockettest.Unowned(t, "udp4")
	require.NoError(t, uc.SetDeadline(time.Unix(1, 0)))
	c, h := adopt(t, uc)
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	require.Equal(t, "x", h.Next(t, "Received").Data)
}

// A socket that is adopted with a peer says where each datagram was sent to once
// the peer is taken away: then it may hear more than one address.
func TestAdoptedAndDisconnected(t *testing.T) {
	peer := sockettest.ListenNet(t, "udp4")
	// With a port of its own Linux knows it as bound to every address.
	var local uint16
	var uc *net.UDPConn
	for range 10 { // another program may be given the port meanwhile
		port := sockettest.ListenNet(t, "udp4")
		local = sockettest.AddrPort(port).Port()
		require.NoError(t, port.Close())
		var err error
		if uc, err = net.DialUDP("udp4", &net.UDPAddr{Port: int(local)}, net.UDPAddrFromAddrPort(sockettest.AddrPort(peer))); err == nil {
			break
		}
	}
	require.NotNil(t, uc)
	c, h := adopt(t, uc)
	cc, ok := c.Connected()
	require.True(t, ok)
	_, err := cc.Disconnect()
	require.NoError(t, err)
	if !c.LocalAddrPort().Addr().IsUnspecified() || !c.Info().PacketInfo {
		t.Skip("it hears one address, ", c.LocalAddrPort())
	}
	other := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), local)
	if _, err := peer.WriteToUDPAddrPort([]byte("x"), other); err != nil {
		t.Skip(err)
	}
	require.Equal(t, other.Addr(), h.Next(t, "Received").Datagram.To().Addr())
}

// A descriptor is adopted through package net, which copies it: stopping leaves
// the original alone.
//
// Twisted: S4 A1 A2 AdoptDatagramPortErrors.test_invalidDescriptor
// AdoptDatagramPortErrors.test_invalidAddressFamily
// AdoptDatagramPortErrors.test_stopOnlyCloses
func TestAdoptedDescriptor(t *testing.T) {
	original := sockettest.ListenNet(t, "udp4")
	f, err := original.File() // what adoptDatagramPort is given
	require.NoError(t, err)
	pc, err := net.FilePacketConn(f)
	require.NoError(t, err)
	require.NoError(t, f.Close(), "may be closed at once")
	h := sockettest.NewRecorder()
	c, err := udp.Config{}.Adopt(pc.(*net.UDPConn), h)
	require.NoError(t, err)
	require.Equal(t, sockettest.AddrPort(original), c.LocalAddrPort())
	h.Next(t, "Started")
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	h.Next(t, "Received")
	sockettest.Stop(t, c)
	sockettest.CountersAgree(t, c.Stats())

	sender := sockettest.ListenNet(t, "udp4")
	_, err = sender.WriteToUDPAddrPort([]byte("still here"), sockettest.AddrPort(original))
	require.NoError(t, err)
	data, _ := sockettest.Read(t, original)
	require.Equal(t, "still here", data)

	bad := os.NewFile(1<<20, "no descriptor")
	_, err = net.FilePacketConn(bad)
	require.ErrorIs(t, err, syscall.EBADF)

	unix, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer unix.Close()
	uf, err := unix.(*net.UnixConn).File()
	require.NoError(t, err)
	defer uf.Close()
	other, err := net.FilePacketConn(uf)
	require.NoError(t, err)
	defer other.Close()
	_, ok := other.(*net.UDPConn)
	require.False(t, ok, "Adopt takes UDP only: the compiler sees to it")
}

// Of what was sent before, while and after a socket is detached, each datagram is
// handled by the old owner or read by the new one.
func TestDetachLosesNothing(t *testing.T) {
	gate := make(chan struct{})
	h := sockettest.NewRecorder()
	h.OnReceived = func(*udp.Conn, udp.Datagram) { <-gate }
	c := sockettest.Listen(t, udp.Config{NoOffload: true}, "udp4", h)
	h.Next(t, "Started")
	to := c.LocalAddrPort()
	sender := sockettest.ListenNet(t, "udp4")
	sent := 0
	send := func(n int) {
		for range n {
			_, err := sender.WriteToUDPAddrPort([]byte{byte(sent)}, to)
			require.NoError(t, err)
			sent++
		}
	}
	send(100)
	h.Next(t, "Received")
	type result struct {
		uc  *net.UDPConn
		err error
	}
	detached := make(chan result, 1)
	go func() {
		uc, err := c.Detach()
		detached <- result{uc, err}
	}()
	send(50)
	close(gate)
	send(50)
	r := sockettest.Next(t, detached)
	if errors.Is(r.err, errors.ErrUnsupported) {
		t.Skip(r.err)
	}
	require.NoError(t, r.err)
	defer r.uc.Close()
	require.Equal(t, to.Port(), sockettest.AddrPort(r.uc).Port())
	require.ErrorIs(t, c.SendTo(nil, to), net.ErrClosed)
	send(20)
	handled := int(c.Stats().Handled)
	sockettest.CountersAgree(t, c.Stats())
	require.Zero(t, c.Stats().Dropped.Total())
	require.NoError(t, r.uc.SetReadDeadline(time.Now().Add(sockettest.Patience)))
	b := make([]byte, 10)
	for i := handled; i < sent; i++ {
		_, _, err := r.uc.ReadFromUDPAddrPort(b)
		require.NoError(t, err)
		require.Equal(t, byte(i), b[0])
	}
}

func TestDetachAndAdopt(t *testing.T) {
	first := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
	uc := detach(t, first)
	second, h := adopt(t, uc)
	require.Equal(t, first.LocalAddrPort(), second.LocalAddrPort())
	_, err := sockettest.ListenNet(t, "udp4").WriteToUDPAddrPort([]byte("x"), second.LocalAddrPort())
	require.NoError(t, err)
	require.Equal(t, "x", h.Next(t, "Received").Data)
}

func TestDetachFails(t *testing.T) {
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
	sockettest.Stop(t, c)
	_, err := c.Detach()
	require.ErrorIs(t, err, net.ErrClosed)

	simulated, err := udptest.NewNet(t, udptest.Config{}).Host("a", "10.0.0.1").Config().
		Listen(t.Context(), "udp4", ":7", udp.BaseHandler{})
	require.NoError(t, err)
	_, err = simulated.Detach()
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.NoError(t, simulated.SendTo(nil, netip.MustParseAddrPort("10.0.0.1:9")), "it goes on")
	sockettest.Stop(t, simulated)
}

// An adopted socket keeps the groups that it has joined, and can join others.
func TestAdoptOfAJoinedSocket(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil || lo.Flags&net.FlagMulticast == 0 && lo.Flags&net.FlagLoopback == 0 {
		t.Skip("no loopback interface called lo")
	}
	uc, err := net.ListenUDP("udp4", &net.UDPAddr{})
	require.NoError(t, err)
	joined, other := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("239.1.2.4")
	require.NoError(t, ipv4.NewPacketConn(uc).JoinGroup(lo, &net.UDPAddr{IP: joined.AsSlice()}))
	c, h := adopt(t, uc)
	m, ok := c.Multicast()
	require.True(t, ok)
	require.NoError(t, m.Join(other, lo))
	require.Len(t, m.Memberships(), 1)
	require.NoError(t, m.SetMulticastInterface(lo))
	for _, group := range []netip.Addr{joined, other} {
		require.NoError(t, c.SendTo([]byte(group.String()), netip.AddrPortFrom(group, c.LocalAddrPort().Port())))
		require.Equal(t, group.String(), h.Next(t, "Received").Data)
	}
}

// Memberships of a Conn stay with its socket when it is detached, for the next owner.
func TestDetachKeepsMemberships(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip("no loopback interface called lo")
	}
	c, err := udp.ListenMulticast(t.Context(), "udp4", ":0", udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c.Conn)
	group := netip.MustParseAddr("239.1.2.5")
	require.NoError(t, c.Join(group, lo))
	uc := detach(t, c)
	next, h := adopt(t, uc)
	m, ok := next.Multicast()
	require.True(t, ok)
	require.NoError(t, m.SetMulticastInterface(lo))
	require.NoError(t, next.SendTo([]byte("x"), netip.AddrPortFrom(group, next.LocalAddrPort().Port())))
	require.Equal(t, "x", h.Next(t, "Received").Data)
}
