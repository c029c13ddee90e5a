package udp_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

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
	uc, err := first.Detach()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	h := sockettest.NewRecorder()
	second, err := udp.Config{}.Adopt(uc, h)
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, second)
	h.Next(t, "Started")
	require.Equal(t, first.LocalAddrPort(), second.LocalAddrPort())
	_, err = sockettest.ListenNet(t, "udp4").WriteToUDPAddrPort([]byte("x"), second.LocalAddrPort())
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
	h := sockettest.NewRecorder()
	c, err := udp.Config{}.Adopt(uc, h)
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	h.Next(t, "Started")
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
	uc, err := c.Detach()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	h := sockettest.NewRecorder()
	next, err := udp.Config{}.Adopt(uc, h)
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, next)
	h.Next(t, "Started")
	m, ok := next.Multicast()
	require.True(t, ok)
	require.NoError(t, m.SetMulticastInterface(lo))
	require.NoError(t, next.SendTo([]byte("x"), netip.AddrPortFrom(group, next.LocalAddrPort().Port())))
	require.Equal(t, "x", h.Next(t, "Received").Data)
}
