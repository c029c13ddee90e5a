//go:build (amd64 || arm64) && !udpbasic

package faults_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/conformance"
	"github.com/udpkit/udp/internal/sockettest"
)

// infoIsTrue runs the promises over loopback.
func infoIsTrue(t *testing.T, lo *net.Interface) {
	coalesces := os.Getenv(coalescing) != ""
	for _, network := range []string{"udp", "udp4", "udp6"} {
		t.Run(network, func(t *testing.T) {
			conformance.Run(t, conformance.RealTime, func(*testing.T) conformance.Suite {
				s := conformance.Suite{Network: network, Interface: lo, Coalesces: coalesces, Other: netip.MustParseAddr("127.0.0.2")}
				s.A.Addr, s.Second = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
				s.Group = netip.MustParseAddr("239.1.2.3")
				switch network {
				case "udp":
					s.IPv6 = netip.IPv6Loopback()
				case "udp6":
					s.A.Addr, s.Second, s.Group = netip.IPv6Loopback(), netip.Addr{}, netip.Addr{}
					s.Other = netip.MustParseAddr("fd00::9")
				}
				s.B = s.A
				return s
			})
		})
	}
}

// features opens sockets, checks that they work and returns which features they have.
func features(t *testing.T, lo *net.Interface) (has []string) {
	q := udp.NewQueue(1000, udp.Block)
	c, err := udp.Config{Timestamps: true, ReadBuffer: 1 << 20}.Listen(t.Context(), "udp", "[::]:0", q)
	require.NoError(t, err)
	port := strconv.Itoa(int(c.LocalAddrPort().Port()))
	exchanges(t, c, q, net.JoinHostPort("127.0.0.1", port))
	exchanges(t, c, q, net.JoinHostPort("::1", port))
	info := c.Info()
	on := map[string]bool{
		"PacketInfo": info.PacketInfo, "ECN": info.ECN, "ErrorQueue": info.ErrorQueue, "MulticastFilter": info.MulticastFilter,
		"Timestamps": info.Timestamps, "GRO": info.GRO, "GSO": info.GSO, "PortKept": info.PortKept, "Batch": info.Batch > 1,
		"KernelDrops": c.Stats().KernelDrops >= 0, "ReadBuffer": info.ReadBuffer > 0, "WriteBuffer": info.WriteBuffer > 0,
		"Group": groupWorks(t), "PeerErrors": peerErrors(t),
	}
	require.NoError(t, c.Shutdown(t.Context()))
	successorHears(t)
	deviceIsKept(t)
	packetConnWorks(t)
	multicastWorks(t, lo)
	for name, on := range on {
		if on {
			has = append(has, name)
		}
	}
	return has
}

// exchanges sends datagrams to c at an address, and the same number back.
func exchanges(t *testing.T, c *udp.Conn, q *udp.Queue, to string) {
	replies := udp.NewQueue(1000, udp.Block)
	d, err := udp.Dial(t.Context(), "udp", to, replies)
	require.NoError(t, err)
	var ms []udp.Message
	for i := range 40 { // of one length, for segments
		ms = append(ms, udp.Message{Data: []byte{byte(i), 1}})
	}
	n, err := d.SendBatch(ms)
	require.NoError(t, err)
	require.Equal(t, len(ms), n)
	for i := range ms {
		got := sockettest.Next(t, q.Datagrams())
		require.Equal(t, []byte{byte(i), 1}, got.Data)
		require.NoError(t, got.Reply(got.Data))
	}
	require.NoError(t, c.Flush())
	for i := range ms {
		require.Equal(t, []byte{byte(i), 1}, sockettest.Next(t, replies.Datagrams()).Data)
	}
	sockettest.Stop(t, d)
}

// peerErrors reports whether a socket without a peer can report ICMP errors.
func peerErrors(t *testing.T) bool {
	c, err := udp.Config{PeerErrors: true}.Listen(t.Context(), "udp", "[::]:0", udp.BaseHandler{})
	if err != nil {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return false
	}
	sockettest.Stop(t, c)
	return true
}

// groupWorks reports whether a Group has more than one socket. Each datagram reaches one.
func groupWorks(t *testing.T) bool {
	q := udp.NewQueue(1000, udp.Block)
	g, err := udp.Config{}.ListenGroup(t.Context(), 2, "udp4", "127.0.0.1:0", func(int) udp.Handler { return q })
	require.NoError(t, err)
	for range 20 {
		d, err := udp.Dial(t.Context(), "udp4", g.LocalAddrPort().String(), udp.BaseHandler{})
		require.NoError(t, err)
		require.NoError(t, d.Send([]byte("one")))
		require.Equal(t, "one", string(sockettest.Next(t, q.Datagrams()).Data))
		sockettest.Stop(t, d)
	}
	require.NoError(t, g.Shutdown(t.Context()))
	return len(g.Conns()) > 1
}

// successorHears checks that another descriptor of a socket receives after a shutdown.
func successorHears(t *testing.T) {
	c, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	successor := sockettest.Duplicate(t, c)
	require.NoError(t, c.Shutdown(t.Context()))
	sender, err := net.Dial("udp4", c.LocalAddrPort().String())
	require.NoError(t, err)
	defer sender.Close()
	_, err = sender.Write([]byte("hello successor"))
	require.NoError(t, err)
	data, _ := sockettest.Read(t, successor)
	require.Equal(t, "hello successor", data)
}

// deviceIsKept checks that a socket stays bound to the interface that its owner chose.
func deviceIsKept(t *testing.T) {
	c, err := udp.Config{Device: "lo"}.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if errors.Is(err, unix.EPERM) { // without CAP_NET_RAW before Linux 5.7
		return
	}
	require.NoError(t, err)
	defer sockettest.Stop(t, c)
	bound := func() (name string) {
		rc, err := c.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, rc.Control(func(fd uintptr) { name, err = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE) }))
		require.NoError(t, err)
		return name
	}
	require.Equal(t, "lo", bound())
	d, err := c.Connect(netip.MustParseAddrPort("127.0.0.1:9"))
	require.NoError(t, err)
	require.Equal(t, "lo", bound())
	_, err = d.Disconnect()
	require.NoError(t, err)
	require.Equal(t, "lo", bound())
}

func packetConnWorks(t *testing.T) {
	p, err := udp.Config{}.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer p.Close()
	_, err = p.WriteTo([]byte("to itself"), p.LocalAddr())
	require.NoError(t, err)
	b := make([]byte, 20)
	n, from, err := p.ReadFrom(b)
	require.NoError(t, err)
	require.Equal(t, "to itself", string(b[:n]))
	require.Equal(t, p.LocalAddr().String(), from.String())
}

func multicastWorks(t *testing.T, lo *net.Interface) {
	q := udp.NewQueue(10, udp.Block)
	group := netip.MustParseAddr("239.1.2.3")
	m, err := udp.ListenMulticast(t.Context(), "udp4", ":0", q)
	require.NoError(t, err)
	defer sockettest.Stop(t, m)
	require.NoError(t, m.Join(group, lo))
	require.NoError(t, m.SetMulticastInterface(lo))
	require.NoError(t, m.SendTo([]byte("all"), netip.AddrPortFrom(group, m.LocalAddrPort().Port())))
	require.Equal(t, "all", string(sockettest.Next(t, q.Datagrams()).Data))
}
