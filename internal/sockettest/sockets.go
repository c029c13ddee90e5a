// Package sockettest has what tests of sockets share: a socket of which each read and send is
// scripted, a Handler that records its calls, and sockets on loopback and in namespaces.
package sockettest

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// closable is a Conn or one of its views.
type closable interface {
	Close() error
	Done() <-chan struct{}
}

// Stop closes a socket and waits until its last callback has returned.
func Stop(t testing.TB, c closable) {
	t.Helper()
	assert.NoError(t, c.Close())
	Next(t, c.Done())
}

// counting is closable, with counters.
type counting interface {
	closable
	Stats() udp.Stats
}

// Finish stops a socket and checks that its counters agree.
func Finish(t testing.TB, c counting) {
	t.Helper()
	Stop(t, c)
	CountersAgree(t, c.Stats())
}

// CloseAtEnd finishes the sockets when the test ends, in the order given.
func CloseAtEnd[C counting](t testing.TB, conns ...C) {
	t.Helper()
	t.Cleanup(func() {
		for _, c := range conns {
			Finish(t, c)
		}
	})
}

// NewWorkers makes Workers of a valid configuration.
func NewWorkers(t testing.TB, cfg udp.WorkersConfig) *udp.Workers {
	t.Helper()
	w, err := udp.NewWorkers(cfg)
	require.NoError(t, err)
	return w
}

// Listen opens a socket on loopback until the test ends.
func Listen(t testing.TB, cfg udp.Config, network string, h udp.Handler) *udp.Conn {
	t.Helper()
	c, err := cfg.Listen(t.Context(), network, Loopback(network)+":0", h)
	require.NoError(t, err)
	CloseAtEnd(t, c)
	return c
}

// Dial opens a connected socket until the test ends.
func Dial(t testing.TB, peer netip.AddrPort, h udp.Handler) *udp.ConnectedConn {
	t.Helper()
	c, err := udp.Dial(t.Context(), "udp", peer.String(), h)
	require.NoError(t, err)
	CloseAtEnd(t, c)
	return c
}

// Loopback is the address of loopback for a network, as in "host:port".
func Loopback(network string) string {
	if network == "udp6" {
		return "[::1]"
	}
	return "127.0.0.1"
}

// Networks are those that this machine has on loopback.
func Networks(t testing.TB) []string {
	t.Helper()
	pc, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Log("no IPv6 here:", err)
		return []string{"udp4"}
	}
	pc.Close()
	return []string{"udp4", "udp6"}
}

// Refusals returns n, or in short mode so few that a test gets every ICMP error in gVisor,
// which has 50 at once and then 1,000 a second, on loopback too.
func Refusals(n int) int {
	if testing.Short() {
		return 6
	}
	return n
}

// DeadPort is an address of loopback on which nobody listens until the test ends: see
// HoldPort.
func DeadPort(t testing.TB, network string) netip.AddrPort {
	t.Helper()
	at, _ := HoldPort(t, network)
	return at
}

// HoldPort is an address of loopback on which nobody listens until revive is called. A
// connected socket keeps the port meanwhile, so that nothing else can be given it.
func HoldPort(t testing.TB, network string) (at netip.AddrPort, revive func() *net.UDPConn) {
	t.Helper()
	ip := netip.MustParseAddr(strings.Trim(Loopback(network), "[]"))
	holder, err := net.DialUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)),
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 9)))
	require.NoError(t, err)
	t.Cleanup(func() { holder.Close() })
	at = AddrPort(holder)
	return at, func() *net.UDPConn {
		// assert, because Started calls this on another goroutine than the test's too.
		assert.NoError(t, holder.Close())
		listener, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(at))
		if assert.NoError(t, err) {
			t.Cleanup(func() { listener.Close() })
			assert.NoError(t, listener.SetReadDeadline(time.Now().Add(Patience)))
		}
		return listener
	}
}

// ListenNet opens a socket of package net on loopback until the test ends, to compare with or
// to look from outside.
func ListenNet(t testing.TB, network string) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenPacket(network, Loopback(network)+":0")
	require.NoError(t, err)
	t.Cleanup(func() { pc.Close() })
	uc := pc.(*net.UDPConn)
	require.NoError(t, uc.SetReadDeadline(time.Now().Add(Patience)))
	return uc
}

// AddrPort is the address of a socket of package net.
func AddrPort(uc *net.UDPConn) netip.AddrPort {
	a := uc.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Read reads one datagram from a socket of package net.
func Read(t testing.TB, uc *net.UDPConn) (data string, from netip.AddrPort) {
	t.Helper()
	b := make([]byte, 65536)
	require.NoError(t, uc.SetReadDeadline(time.Now().Add(Patience)))
	defer uc.SetReadDeadline(time.Time{})
	n, a, err := uc.ReadFromUDPAddrPort(b)
	require.NoError(t, err)
	return string(b[:n]), netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Settle returns when what was sent over loopback before has arrived. While ksoftirqd runs, Linux
// before 6.5 delivers after the call that sent (https://git.kernel.org/linus/d15121be7485), but
// in order.
func Settle(t testing.TB) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer c.Close()
	_, err = c.WriteTo([]byte("last"), c.LocalAddr())
	require.NoError(t, err)
	Read(t, c)
}

// Unowned opens a socket of package net on loopback for Adopt, which will own it.
func Unowned(t testing.TB, network string) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenPacket(network, Loopback(network)+":0")
	require.NoError(t, err)
	return pc.(*net.UDPConn)
}

// At is an address and a port.
func At(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

// ListenAt opens a socket at an address until the test ends.
func ListenAt(t *testing.T, cfg udp.Config, network, address string, h udp.Handler) *udp.Conn {
	t.Helper()
	c, err := cfg.Listen(t.Context(), network, address, h)
	require.NoError(t, err)
	CloseAtEnd(t, c)
	return c
}

// Endings are the ways to close a socket.
var Endings = map[string]func(*testing.T, *udp.Conn){
	"Close":    func(t *testing.T, c *udp.Conn) { Stop(t, c) },
	"Shutdown": func(t *testing.T, c *udp.Conn) { require.NoError(t, c.Shutdown(context.Background())) },
}
