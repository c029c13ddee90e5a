package addressing_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// The peer of a socket is the address that the kernel has, even if only one of the two has
// a zone, or the zone has another name.
func TestRepliesComeFromTheKernelsPeer(t *testing.T) {
	bound := udp.Config{Control: func(_, _ string, rc syscall.RawConn) (err error) {
		rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "eth0") })
		return err
	}}
	netns.Run(t, func() {
		here, there := sockettest.TwoHosts(t)
		here.Addr("eth0", "fe80::1/64")
		there.Addr("eth0", "fe80::2/64")
		if _, err := here.Try("ip", "link", "property", "add", "dev", "eth0", "altname", "other"); err != nil {
			t.Skip("alternative names of interfaces:", err)
		}
		server := sockettest.EchoIn(t, there)
		for _, test := range []struct {
			name, peer, kernel string
			cfg                udp.Config
		}{
			{"with its zone", "fe80::2%eth0", "fe80::2%eth0", udp.Config{}},
			{"with another name of its zone", "fe80::2%other", "fe80::2%eth0", udp.Config{}},
			{"without a zone, bound to the interface", "fe80::2", "fe80::2%eth0", bound},
			{"a zone that means nothing", "2001:db8::2%eth0", "2001:db8::2", udp.Config{}},
			{"IPv4 in IPv6 with a zone", "::ffff:192.0.2.2%eth0", "192.0.2.2", udp.Config{}},
		} {
			t.Run(test.name, func(t *testing.T) {
				h := sockettest.NewRecorder()
				port := server.LocalAddrPort().Port()
				var c *udp.ConnectedConn
				var err error
				here.Do(func() {
					c, err = test.cfg.Dial(t.Context(), "udp", net.JoinHostPort(test.peer, fmt.Sprint(port)), h)
				})
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				h.Next(t, "Started")
				peer := netip.AddrPortFrom(netip.MustParseAddr(test.kernel), port)
				if peer.Addr().Zone() != "" && !sockettest.NamesZones(c.Conn) {
					t.Skip("package net names zones of another namespace")
				}
				require.Equal(t, peer, c.RemoteAddrPort())
				for range 3 {
					require.NoError(t, c.Send([]byte("ask")))
					e := h.Next(t, "Received")
					require.Equal(t, c.RemoteAddrPort(), e.Datagram.From)
				}
				require.Zero(t, c.Stats().Dropped.Stranger)
			})
		}
	})
}

// Cilium and others replace the address of a service by that of a backend when a socket is
// connected (BPF_CGROUP_INET4_CONNECT). Replies of the backend are the peer's.
func TestRepliesComeFromAPeerThatWasRewritten(t *testing.T) {
	netns.Isolated(t, func() { // in a process of its own: the program is for all sockets of a cgroup
		server := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply(d.Data) }))
		service := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.99"), server.LocalAddrPort().Port())
		netns.Self(t).IP("addr add 192.0.2.1/24 dev lo")
		rewriteConnects(t, service.Addr(), server.LocalAddrPort().Addr())
		h := sockettest.NewRecorder()
		c := sockettest.Dial(t, service, h)
		h.Next(t, "Started")
		require.NoError(t, c.Send([]byte("ask")))
		e := h.Next(t, "Received")
		require.Equal(t, server.LocalAddrPort(), e.Datagram.From)
		require.Equal(t, server.LocalAddrPort(), c.RemoteAddrPort())
		require.NoError(t, c.Reconnect(service))
		require.NoError(t, c.Send([]byte("ask again")))
		require.Equal(t, "ask again", h.Next(t, "Received").Data)
	})
}

// rewriteConnects moves this process into a cgroup in which connect(2) to one
// address goes to another. The test is skipped where that isn't allowed.
func rewriteConnects(t *testing.T, from, to netip.Addr) {
	t.Helper()
	root := t.TempDir()
	if err := unix.Mount("cgroup", root, "cgroup2", 0, ""); err != nil {
		t.Skip("a cgroup of one's own:", err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	group := filepath.Join(root, fmt.Sprint("udp-test-", os.Getpid()))
	if err := os.Mkdir(group, 0o700); err != nil {
		t.Skip("a cgroup of one's own:", err)
	}
	t.Cleanup(func() { os.Remove(group) })

	word := func(a netip.Addr) int32 { b := a.As4(); return *(*int32)(unsafe.Pointer(&b)) }
	// R6 is the context, struct bpf_sock_addr, whose user_ip4 is at 4.
	program := [...]struct {
		op, registers uint8
		offset        int16
		value         int32
	}{
		{0xbf, 0x16, 0, 0},          // R6 = R1
		{0x61, 0x67, 4, 0},          // R7 = R6->user_ip4
		{0x56, 0x07, 2, word(from)}, // another address: over the next two
		{0xb4, 0x07, 0, word(to)},   // R7 = to
		{0x63, 0x76, 4, 0},          // R6->user_ip4 = R7
		{0xb4, 0x00, 0, 1},          // R0 = 1: go on
		{0x95, 0x00, 0, 0},          // return
	}
	license := [...]byte{'B', 'S', 'D', 0}
	load := struct {
		programType, count      uint32
		program, license        uint64
		logLevel, logSize       uint32
		log                     uint64
		kernelVersion, flags    uint32
		name                    [16]byte
		ifindex, expectedAttach uint32
	}{
		programType: unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, count: uint32(len(program)),
		program: uint64(uintptr(unsafe.Pointer(&program))), license: uint64(uintptr(unsafe.Pointer(&license))),
		expectedAttach: unix.BPF_CGROUP_INET4_CONNECT,
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	if errno != 0 {
		t.Skip("loading a BPF program:", errno)
	}
	t.Cleanup(func() { unix.Close(int(fd)) })
	dir, err := unix.Open(group, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(dir) })
	attach := struct{ target, program, kind, flags uint32 }{uint32(dir), uint32(fd), unix.BPF_CGROUP_INET4_CONNECT, 0}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attach)), unsafe.Sizeof(attach)); errno != 0 {
		t.Skip("attaching a BPF program:", errno)
	}
	move := func(group string) error {
		return os.WriteFile(filepath.Join(group, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0)
	}
	if err := move(group); err != nil {
		t.Skip("moving into a cgroup:", err)
	}
	t.Cleanup(func() { require.NoError(t, move(root)) })
}

// A new socket can be bound to the address that a datagram was sent to, as TFTP needs it,
// even if that is a link-local address.
func TestADestinationCanBeListenedOn(t *testing.T) {
	netns.Run(t, func() {
		here, there := sockettest.TwoHosts(t)
		here.Addr("eth0", "fe80::1/64")
		there.Addr("eth0", "fe80::2/64")
		group := netip.MustParseAddr("ff02::1234")
		h := sockettest.NewRecorder()
		var c *udp.MulticastConn
		var err error
		here.Do(func() { c, err = udp.ListenMulticast(t.Context(), "udp6", ":0", h, group) })
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, c)
		h.Next(t, "Started")
		if !sockettest.NamesZones(c.Conn) {
			t.Skip("package net names zones of another namespace")
		}
		client := sockettest.EchoIn(t, there)
		for _, to := range []string{"2001:db8::1", "fe80::1%eth0", "ff02::1234%eth0"} {
			at := netip.MustParseAddr(to)
			require.NoError(t, client.SendTo([]byte("ask"), netip.AddrPortFrom(at, c.LocalAddrPort().Port())))
			d := h.Next(t, "Received").Datagram
			require.Equal(t, at, d.To().Addr(), "both hosts name the interface alike")
			require.NoError(t, d.Reply([]byte("reply")))
			require.Equal(t, "reply", h.Next(t, "Received").Data) // echoed
			here.Do(func() {
				fresh, err := udp.Listen(t.Context(), "udp6", netip.AddrPortFrom(d.To().Addr(), 0).String(), udp.BaseHandler{})
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, fresh)
			})
		}
	})
}

// The source address of a connected socket may be replaced, like the addresses of leases and
// privacy addresses. Sends continue from the new one and the same port, and so after a
// Reconnect to the same peer.
func TestASourceAddressThatWasReplaced(t *testing.T) {
	netns.Run(t, func() {
		here, there := sockettest.TwoHosts(t)
		server := sockettest.EchoIn(t, there)
		for i, how := range []string{"Send", "Reconnect"} {
			t.Run(how, func(t *testing.T) {
				h := sockettest.NewRecorder()
				var c *udp.ConnectedConn
				var err error
				here.Do(func() {
					c, err = udp.Dial(t.Context(), "udp4", fmt.Sprint("192.0.2.2:", server.LocalAddrPort().Port()), h)
				})
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				h.Next(t, "Started")
				old := c.LocalAddrPort()
				here.IP(fmt.Sprintf("addr del %v/24 dev eth0", old.Addr()))
				here.Addr("eth0", fmt.Sprintf("192.0.2.%d/24", 10+i))
				if how == "Reconnect" {
					require.NoError(t, c.Reconnect(c.RemoteAddrPort()))
				}
				for range 3 {
					require.NoError(t, c.Send([]byte("ask")))
					require.Equal(t, "ask", h.Next(t, "Received").Data)
				}
				s := c.Stats()
				require.Zero(t, s.SendErrors)
				if how == "Send" {
					require.EqualValues(t, 1, s.Rebinds)
				}
				require.Equal(t, netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 10+i)), old.Port()), c.LocalAddrPort())
			})
		}
	})
}

// A connected IPv6 socket keeps sending from a removed address, and no call fails. So the
// address is watched, also after a Reconnect, until the socket is disconnected.
func TestAnIPv6SourceAddressThatWasRemoved(t *testing.T) {
	netns.Run(t, func() {
		here, there := sockettest.TwoHosts(t)
		here.Addr("eth0", "2001:db8::11/64")
		server := sockettest.EchoIn(t, there)
		h := sockettest.NewRecorder()
		var c *udp.ConnectedConn
		var err error
		here.Do(func() {
			c, err = udp.Dial(t.Context(), "udp6", fmt.Sprintf("[2001:db8::2]:%d", server.LocalAddrPort().Port()), h)
		})
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, c)
		h.Next(t, "Started")
		for n := range 3 {
			if n == 1 {
				require.NoError(t, c.Reconnect(c.RemoteAddrPort()))
			}
			old := c.LocalAddrPort()
			here.Addr("eth0", fmt.Sprintf("2001:db8::%d/64", 20+n))
			here.IP(fmt.Sprintf("addr del %v/64 dev eth0", old.Addr()))
			require.Eventually(t, func() bool { return c.Stats().Rebinds > uint64(n) }, sockettest.Patience, 1e6)
			require.NoError(t, c.Send([]byte("ask")))
			require.Equal(t, "ask", h.Next(t, "Received").Data)
			now := c.LocalAddrPort()
			require.NotEqual(t, old.Addr(), now.Addr())
			require.Equal(t, old.Port(), now.Port())
		}
	})
}
