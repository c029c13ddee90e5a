package sys

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/socket"
)

// Detach hands the socket out with all that is queued, its memberships and its
// peer, and as package net would have made it.
func TestDetach(t *testing.T) {
	netns.Isolated(t, func() {
		netns.Self(t).IP("route add 239.0.0.0/8 dev lo")
		group := netip.MustParseAddr("239.1.2.3")
		lo, err := net.InterfaceByName("lo")
		require.NoError(t, err)
		c := open(t, "udp4", "0.0.0.0:0", socket.Options{NoOffload: true, PeerErrors: !basic, Timestamps: true})
		require.NoError(t, c.Join(group, netip.Addr{}, lo.Index))
		local := c.Local()
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), local.Port())
		sender, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		defer sender.Close()
		const before, after = 100, 100
		for i := range before {
			_, err := sender.WriteToUDPAddrPort(fmt.Append(nil, i), at)
			require.NoError(t, err)
		}
		out, err := c.Detach()
		require.NoError(t, err)
		defer out.Close()
		for i := range after {
			_, err := sender.WriteToUDPAddrPort(fmt.Append(nil, before+i), at)
			require.NoError(t, err)
		}
		_, err = sender.WriteToUDPAddrPort(fmt.Append(nil, before+after), netip.AddrPortFrom(group, local.Port()))
		require.NoError(t, err)
		require.Equal(t, local.Port(), out.LocalAddr().(*net.UDPAddr).AddrPort().Port())
		require.NoError(t, out.SetReadDeadline(time.Now().Add(time.Minute)))
		b := make([]byte, 100)
		for i := range before + after + 1 {
			n, err := out.Read(b)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), string(b[:n]))
		}
		require.ErrorIs(t, c.Send(socket.Message{Data: b, To: at}), net.ErrClosed)
		require.ErrorIs(t, c.Close(), net.ErrClosed)

		rc, err := out.SyscallConn()
		require.NoError(t, err)
		plain, err := sender.SyscallConn()
		require.NoError(t, err)
		for _, o := range options {
			want, err := getInt(plain, o.level, o.name)
			got, err2 := getInt(rc, o.level, o.name)
			require.Equal(t, err == nil, err2 == nil)
			require.Equal(t, want, got, "option %d of %d", o.name, o.level)
		}
	})
}

// A socket that is handed out stays connected.
func TestDetachOfAConnectedSocket(t *testing.T) {
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer peer.Close()
	c := open(t, "udp4", "0.0.0.0:0", socket.Options{})
	_, err = c.Connect(peer.LocalAddr().(*net.UDPAddr).AddrPort())
	require.NoError(t, err)
	out, err := c.Detach()
	require.NoError(t, err)
	defer out.Close()
	_, err = out.Write([]byte("hello"))
	require.NoError(t, err)
	b := make([]byte, 100)
	n, from, err := peer.ReadFromUDPAddrPort(b)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b[:n]))
	require.Equal(t, out.LocalAddr().(*net.UDPAddr).AddrPort(), from)
}

// An IPv6 socket sends on from a source address that was removed, and no call
// fails. Reconcile chooses another one, and leaves alone what is well.
func TestReconcileChoosesTheSourceAgain(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "eth0", there, "eth0")
		for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64", "2001:db8::11/64"} {
			here.Addr("eth0", a)
		}
		for _, peer := range []string{"192.0.2.2:9", "[2001:db8::2]:9"} {
			t.Run(peer, func(t *testing.T) {
				var c *Conn
				here.Do(func() { c = open(t, "udp6", "[::]:0", socket.Options{}) })
				if peer[0] != '[' {
					here.Do(func() { c = open(t, "udp4", "0.0.0.0:0", socket.Options{}) })
				}
				to := netip.MustParseAddrPort(peer)
				_, err := c.Connect(to)
				require.NoError(t, err)
				old := c.Local()
				require.NoError(t, c.Reconcile())
				require.Zero(t, c.Rebinds())
				bits := map[bool]string{true: "/24", false: "/64"}[old.Addr().Is4()]
				here.IP("addr del " + old.Addr().String() + bits + " dev eth0")
				if old.Addr().Is4() {
					require.ErrorIs(t, c.Reconcile(), unix.ENETUNREACH, "there is no other address yet")
					require.Zero(t, c.Rebinds())
					here.Addr("eth0", "192.0.2.11/24")
				}
				require.NoError(t, c.Reconcile())
				require.EqualValues(t, 1, c.Rebinds())
				require.NoError(t, c.Reconcile())
				require.EqualValues(t, 1, c.Rebinds())
				require.Equal(t, to, c.Peer())
				now := c.Local()
				require.NotEqual(t, old.Addr(), now.Addr())
				require.Equal(t, old.Port(), now.Port())
			})
		}
	})
}

// Reconcile does not touch a socket that its owner has bound to an address, nor
// one that has no peer.
func TestReconcileLeavesABoundAddressAlone(t *testing.T) {
	netns.Run(t, func() {
		ns := netns.New(t)
		ns.IP("addr add 192.0.2.1/24 dev lo")
		var bound, free *Conn
		ns.Do(func() {
			bound = open(t, "udp4", "192.0.2.1:0", socket.Options{})
			free = open(t, "udp4", "0.0.0.0:0", socket.Options{})
		})
		_, err := bound.Connect(netip.MustParseAddrPort("192.0.2.1:9"))
		require.NoError(t, err)
		ns.IP("addr del 192.0.2.1/24 dev lo")
		for _, c := range []*Conn{bound, free} {
			require.NoError(t, c.Reconcile())
			require.Zero(t, c.Rebinds())
		}
		require.Equal(t, "192.0.2.1:9", bound.Peer().String())
	})
}

// The port that the system has chosen stays bound when the peer is taken away.
func TestKeepPort(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			for range 100 {
				c := open(t, "udp", address, socket.Options{})
				require.True(t, c.Info().PortKept)
				before := c.Local()
				require.NotZero(t, before.Port())
				require.NoError(t, onFD(c.rc, dissolve))
				require.Equal(t, before, c.Local())
				require.NoError(t, c.Close())
			}
		})
	}
}

// A socket without a port cannot keep one; that costs the guarantee, not the socket.
func TestAPortThatCannotBeKept(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{Control: func(_, _ string, rc syscall.RawConn) error {
		return setInt(rc, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}})
	require.Equal(t, c.Local().Port() != 0, c.Info().PortKept)
}

// Without cookies, before Linux 5.14, namespaces differ by their inodes.
func TestNamespacesByInode(t *testing.T) {
	netns.Run(t, func() {
		one, two := netns.New(t), netns.New(t)
		inode := func(ns *netns.NS) (id, here uint64) {
			ns.Do(func() {
				c := open(t, "udp4", "127.0.0.1:0", socket.Options{})
				err := onFD(c.rc, func(fd int) (err error) { id, err = inodeOf(fd); return err })
				if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOSYS) {
					t.Skip("no SIOCGSKNS: ", err)
				}
				require.NoError(t, err)
				var st unix.Stat_t
				require.NoError(t, unix.Stat("/proc/thread-self/ns/net", &st))
				here = st.Ino
			})
			return id, here
		}
		first, here := inode(one)
		require.Equal(t, here, first)
		again, _ := inode(one)
		require.Equal(t, first, again)
		other, _ := inode(two)
		require.NotEqual(t, first, other)
	})
}
