package udp_test

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// The TTL is 1 unless set, goes out with every datagram, and stays in its range.
//
// Twisted: M3 MulticastTests.testTTL
func TestMulticastTTL(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		pc, err := net.ListenPacket(fam.network, ":0")
		require.NoError(t, err)
		defer pc.Close()
		ttl := fam.joinRaw(t, pc, c.left, fam.group)
		s := c.sender(t, fam)
		to := netip.AddrPortFrom(fam.group, sockettest.AddrPort(pc.(*net.UDPConn)).Port())
		expect := func(want int) {
			t.Helper()
			got, err := s.MulticastTTL()
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.NoError(t, s.SendTo([]byte("x"), to))
			got, err = ttl()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		expect(1)
		for _, n := range []int{2, 255} {
			require.NoError(t, s.SetMulticastTTL(n))
			expect(n)
		}
		for _, n := range []int{-1, 256} {
			err := s.SetMulticastTTL(n)
			sockettest.RequireOpError(t, err, "set")
			require.ErrorIs(t, err, syscall.EINVAL)
			expect(255)
		}
		require.NoError(t, s.SetMulticastTTL(0))
	})
}

// A member hears what its own host sends, unless SetMulticastLoopback says no; others
// hear it anyway.
//
// Twisted: M4 MulticastTests.test_loopback
func TestMulticastLoopback(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		h, far := sockettest.NewRecorder(), sockettest.NewRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, c.left, fam.group)
		h.Next(t, "Started")
		port := m.LocalAddrPort().Port()
		var there *udp.MulticastConn
		c.there.Do(func() {
			there = memberOf(t, udp.Config{}, fam.network, netip.AddrPortFrom(fam.wildcard(), port).String(), far, c.right, fam.group)
		})
		far.Next(t, "Started")
		expect := func(own bool) {
			t.Helper()
			on, err := m.MulticastLoopback()
			require.NoError(t, err)
			require.Equal(t, own, on)
			require.NoError(t, m.SendTo([]byte("group"), netip.AddrPortFrom(fam.group, port)))
			require.NoError(t, m.SendTo([]byte("unicast"), netip.AddrPortFrom(fam.left, port)))
			e := h.Next(t, "Received")
			if own {
				require.Equal(t, "group", e.Data)
				e = h.Next(t, "Received")
			}
			require.Equal(t, "unicast", e.Data)
			require.Equal(t, "group", far.Next(t, "Received").Data)
		}
		expect(true)
		require.NoError(t, m.SetMulticastLoopback(false))
		expect(false)
		require.NoError(t, m.SetMulticastLoopback(true))
		expect(true)
		require.NotNil(t, there)
	})
}

// SetMulticastInterface chooses where groups' datagrams leave; Join where they come in.
//
// Twisted: M5 MulticastTests.test_interface
func TestMulticastInterface(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		if fam.network == "udp4" { // the wire is there for both families
			netns.Veth(t, c.here, "left2", c.there, "right2")
			c.here.Addr("left2", "198.51.100.1/24")
			c.there.Addr("right2", "198.51.100.2/24")
			c.here.Addr("left2", "2001:db8:2::1/64")
			c.there.Addr("right2", "2001:db8:2::2/64")
		}
		left2, right2 := c.here.Interface("left2"), c.there.Interface("right2")
		h := sockettest.NewRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, nil)
		h.Next(t, "Started")
		require.NoError(t, m.Join(fam.group), "on both")
		require.Len(t, m.Memberships()[0].On, 2)
		s := c.sender(t, fam)
		to := netip.AddrPortFrom(fam.group, m.LocalAddrPort().Port())
		for _, way := range []struct{ out, in *net.Interface }{{c.right, c.left}, {right2, left2}, {c.right, c.left}} {
			c.there.Do(func() {
				require.NoError(t, s.SetMulticastInterface(way.out))
				got, err := s.MulticastInterface()
				require.NoError(t, err)
				require.Equal(t, way.out.Name, got.Name)
			})
			require.NoError(t, s.SendTo([]byte("x"), to))
			require.Equal(t, way.in.Index, h.Next(t, "Received").Datagram.IfIndex())
		}
		// Joined on one of them only, the other's don't arrive.
		require.NoError(t, m.Leave(fam.group, c.left))
		require.NoError(t, s.SendTo([]byte("no"), to))
		require.NoError(t, s.SetMulticastInterface(right2))
		require.NoError(t, s.SendTo([]byte("yes"), to))
		require.Equal(t, "yes", h.Next(t, "Received").Data)

		require.NoError(t, s.SetMulticastInterface(nil))
		got, err := s.MulticastInterface()
		require.NoError(t, err)
		require.Nil(t, got)
		err = s.SetMulticastInterface(&net.Interface{Index: 1 << 20, Name: "nothing"})
		sockettest.RequireOpError(t, err, "set")
		require.ErrorIs(t, err, syscall.ENODEV)
		got, err = s.MulticastInterface()
		require.NoError(t, err)
		require.Nil(t, got, "as it was")
	})
}
