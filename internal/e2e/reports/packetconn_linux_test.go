package reports

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// packetConn opens a PacketConn in a namespace.
func packetConn(t *testing.T, ns *netns.NS, open func(ctx context.Context) (net.Conn, error)) *udp.PacketConn {
	t.Helper()
	var c net.Conn
	var err error
	ns.Do(func() { c, err = open(context.Background()) })
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(*udp.PacketConn)
}

// Report 17, for sockets without a goroutine: a PacketConn that is bound to a device that
// was removed and created again receives and sends, although it sends nothing meanwhile.
func TestAPacketConnFollowsItsDevice(t *testing.T) {
	netns.Run(t, func() {
		s := netns.New(t)
		c := plug(t, s, "192.0.2.1/24", "fe80::1/64")
		listen := func(cfg udp.Config, network, address string) func(context.Context) (net.Conn, error) {
			return func(ctx context.Context) (net.Conn, error) { return cfg.ListenPacket(ctx, network, address) }
		}
		device := udp.Config{Device: "v0"}
		packetConns := map[string]*udp.PacketConn{
			"IPv4":       packetConn(t, s, listen(device, "udp4", "192.0.2.1:0")),
			"both":       packetConn(t, s, listen(device, "udp", ":0")),
			"link-local": packetConn(t, s, listen(udp.Config{}, "udp6", "[fe80::1%v0]:0")),
			"connected": packetConn(t, s, func(ctx context.Context) (net.Conn, error) {
				return device.DialContext(ctx, "udp4", "192.0.2.2:7")
			}),
			"connected, link-local": packetConn(t, s, func(ctx context.Context) (net.Conn, error) {
				return udp.Config{}.DialContext(ctx, "udp6", "[fe80::2%v0]:7")
			}),
			"adopted": packetConn(t, s, func(ctx context.Context) (net.Conn, error) {
				c, err := device.ListenPacket(ctx, "udp4", ":0")
				if err != nil {
					return nil, err
				}
				defer c.Close()
				f, err := c.File()
				if err != nil {
					return nil, err
				}
				defer f.Close()
				pc, err := net.FilePacketConn(f)
				if err != nil {
					return nil, err
				}
				return udp.Config{}.AdoptPacket(pc.(*net.UDPConn))
			}),
		}
		for i := range 3 {
			if i > 0 {
				s.IP("link del v0")
				c = plug(t, s, "192.0.2.1/24", "fe80::1/64")
			}
			peers := map[string]*socket{
				"IPv4": in(t, c, nil, func(h udp.Handler) (*udp.Conn, error) { return udp.Listen(context.Background(), "udp4", ":7", h) }),
				"IPv6": in(t, c, nil, func(h udp.Handler) (*udp.Conn, error) { return udp.Listen(context.Background(), "udp6", ":7", h) }),
			}
			for name, pc := range packetConns {
				peer, at := peers["IPv4"], netip.MustParseAddr("192.0.2.1")
				if strings.Contains(name, "link-local") {
					peer, at = peers["IPv6"], netip.MustParseAddr("fe80::1%eth")
				}
				to := netip.AddrPortFrom(at, pc.LocalAddr().(*net.UDPAddr).AddrPort().Port())
				b := make([]byte, 100)
				asksPacketConn(t, pc, b, func() error { return peer.SendTo([]byte(name), to) })
				for last := false; !last; { // what was repeated arrives later
					require.NoError(t, pc.SetReadDeadline(time.Now().Add(time.Millisecond)))
					_, _, err := pc.ReadFrom(b)
					last = errors.Is(err, os.ErrDeadlineExceeded)
				}
			}
			for _, p := range peers {
				sockettest.Finish(t, p.Conn) // the port is for the next round's
			}
		}
	})
}

// asksPacketConn asks until a PacketConn that only reads has read it.
func asksPacketConn(t *testing.T, pc *udp.PacketConn, b []byte, ask func() error) {
	t.Helper()
	for end := time.Now().Add(sockettest.Patience); ; {
		err := ask()
		require.NoError(t, pc.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		if _, _, rerr := pc.ReadFrom(b); rerr == nil {
			return
		} else if time.Now().After(end) {
			require.FailNow(t, "no datagram", "%v, %v", err, rerr)
		}
	}
}

// Report 16, for sockets without a goroutine: datagrams to the peer leave from another address
// once the host has lost the one in use. On an IPv6 socket no call reports that.
func TestAPacketConnWhoseSourceAddressWasRemoved(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		l.ipv6()
		l.c.Addr("c1", "fd00:1::3/64")
		server := listen(t, l.s, udp.Config{}, "udp6", "[fd00:1::1]:0", echo(t))
		c := packetConn(t, l.c, func(ctx context.Context) (net.Conn, error) {
			return udp.Config{}.DialContext(ctx, "udp6", server.LocalAddrPort().String())
		})
		first := c.LocalAddr().(*net.UDPAddr).AddrPort()
		l.c.IP("addr del " + first.Addr().String() + "/64 dev c1")
		sockettest.Eventually(t, func() bool { return c.Stats().Rebinds > 0 })
		now := c.LocalAddr().(*net.UDPAddr).AddrPort()
		require.NotEqual(t, first.Addr(), now.Addr())
		require.Equal(t, first.Port(), now.Port())
		_, err := c.Write([]byte("q"))
		require.NoError(t, err)
		require.Equal(t, now, sockettest.Next(t, server.got).from)
		b := make([]byte, 10)
		n, err := c.Read(b)
		require.NoError(t, err)
		require.Equal(t, "q", string(b[:n]))
	})
}

// A PacketConn that follows a device is closed, too, when the program abandons it.
func TestAnAbandonedPacketConnFollowsNothing(t *testing.T) {
	netns.Run(t, func() {
		s, c := netns.New(t), netns.New(t)
		netns.Veth(t, s, "v0", c, "eth")
		s.Addr("v0", "192.0.2.1/24")
		var address string
		collected := make(chan struct{})
		s.Do(func() {
			pc, err := udp.Config{Device: "v0"}.ListenPacket(context.Background(), "udp4", "192.0.2.1:0")
			require.NoError(t, err)
			address = pc.LocalAddr().String()
			runtime.AddCleanup(pc, func(done chan struct{}) { close(done) }, collected)
		})
		collect := func(f func() bool) {
			sockettest.Eventually(t, func() bool { runtime.GC(); return f() })
		}
		collect(func() bool {
			select {
			case <-collected:
				return true
			default:
				return false
			}
		})
		collect(func() bool { // the descriptor is closed by a finalizer that runs after that
			var again net.PacketConn
			var err error
			s.Do(func() { again, err = net.ListenPacket("udp4", address) })
			if err == nil {
				again.Close()
			}
			return err == nil
		})
	})
}
