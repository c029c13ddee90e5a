package multicast_test

import (
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Where a sandbox refuses netlink, groups are joined on named interfaces and on all, and
// memberships follow the interfaces.
func TestWithoutNetlink(t *testing.T) {
	netns.Isolated(t, func() {
		self := netns.Self(t)
		netns.Veth(t, self, "eth", self, "other")
		address(self, 1)
		eth := self.Interface("eth")
		refuseNetlink(t)
		_, err := net.Interfaces()
		require.ErrorIs(t, err, syscall.EPERM)
		for _, f := range ipFamilies {
			sender := joinIn(t, self, udp.Config{}, f.network, ":0")
			for _, how := range []struct {
				name  string
				group netip.Addr
				ifs   []*net.Interface
			}{
				{"all", f.one, nil},
				{"an interface", f.one, []*net.Interface{eth}},
				{"a name", f.one, []*net.Interface{{Name: "eth"}}},
				{"an index", f.one, []*net.Interface{{Index: eth.Index}}},
			} {
				m := joinIn(t, self, udp.Config{}, f.network, ":0")
				require.NoError(t, m.Join(how.group, how.ifs...), how.name)
				require.True(t, heldOn("eth")(m.Memberships()[0]), "%s: %+v", how.name, m.Memberships())
				_, err := sender.SendGroup([]byte(how.name), how.group, m.port(), eth)
				require.NoError(t, err)
				require.Equal(t, how.name, string(sockettest.Next(t, m.queue.Datagrams()).Data))
				require.NoError(t, m.Leave(how.group))
			}
		}
		m := joinIn(t, self, udp.Config{}, "udp6", ":0")
		require.NoError(t, m.Join(netip.MustParseAddr("ff02::1234%eth")))
		require.Error(t, m.Join(netip.MustParseAddr("ff02::1234"), &net.Interface{Name: "missing"}))
		require.NoError(t, m.SetMulticastInterface(&net.Interface{Name: "eth"}))
		setDown(t, "eth")
		m.await(t, "down", heldOn())
	})
}

// refuseNetlink makes socket(AF_NETLINK) fail with EPERM in this process. It cannot be undone.
func refuseNetlink(t *testing.T) {
	t.Helper()
	if runtime.GOARCH == "386" { // there, package unix makes sockets with it
		t.Skip("seccomp does not see the arguments of socketcall(2)")
	}
	const domain = 16 // offset of the first argument in struct seccomp_data, low half
	low := uint32(domain)
	if isBigEndian() {
		low += 4
	}
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_SOCKET},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: low},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.AF_NETLINK},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := sockettest.FilterSystemCalls(code); err != nil {
		t.Skip("seccomp:", err)
	}
}

func isBigEndian() bool {
	n := uint16(1)
	return *(*byte)(unsafe.Pointer(&n)) == 0
}

// setDown takes an interface down without ip(8), which needs netlink.
func setDown(t *testing.T, name string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr))
	ifr.SetUint16(ifr.Uint16() &^ unix.IFF_UP)
	require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}
