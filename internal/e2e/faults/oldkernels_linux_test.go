//go:build (amd64 || arm64) && !udpbasic

package faults_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// rejectedOption is one that can be set or asked for.
type rejectedOption struct{ level, name int }

// oldKernels lack options, as a seccomp filter makes this one do; the first group are
// kernels with all that they lack, the others lose what a sandbox may reject.
var oldKernels = []struct {
	name    string
	options []rejectedOption
	lacks   string // fields of Info, and KernelDrops
}{
	{"Linux 4.17", join(since418, since420, since50, since51, since514), "GSO GRO MulticastFilter"},
	{"Linux 4.18", join(since420, since50, since51, since514), "GRO MulticastFilter"},
	{"Linux 5.0", join(since51, since514), ""},
	{"no destination addresses", []rejectedOption{{unix.IPPROTO_IP, unix.IP_PKTINFO}, {unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO}}, "PacketInfo"},
	{"no traffic classes", []rejectedOption{{unix.IPPROTO_IP, unix.IP_RECVTOS}, {unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS}}, "ECN"},
	{"no TTLs", []rejectedOption{{unix.IPPROTO_IP, unix.IP_RECVTTL}, {unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT}}, ""},
	{"no error queue", []rejectedOption{{unix.IPPROTO_IP, unix.IP_RECVERR}, {unix.IPPROTO_IPV6, unix.IPV6_RECVERR}}, "ErrorQueue PeerErrors"},
	{"no timestamps", []rejectedOption{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS}, {unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW}}, "Timestamps"},
	{"no drop counts", []rejectedOption{{unix.SOL_SOCKET, unix.SO_MEMINFO}, {unix.SOL_SOCKET, unix.SO_RXQ_OVFL}}, "KernelDrops"},
	{"no filters", []rejectedOption{{unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}, {unix.SOL_SOCKET, unix.SO_DETACH_FILTER}}, ""},
	{"no larger buffers", []rejectedOption{{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE}, {unix.SOL_SOCKET, unix.SO_SNDBUFFORCE}}, ""},
	{"no steering", []rejectedOption{{unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF}, {unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF}}, ""},
}

var (
	since418 = []rejectedOption{{unix.SOL_UDP, unix.UDP_SEGMENT}}
	since420 = []rejectedOption{{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL}}
	since50  = []rejectedOption{{unix.SOL_UDP, unix.UDP_GRO}, {unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX}}
	since51  = []rejectedOption{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW}}
	since514 = []rejectedOption{{unix.SOL_SOCKET, unix.SO_NETNS_COOKIE}}
)

func join(groups ...[]rejectedOption) (all []rejectedOption) {
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// rejectOptions makes setsockopt and getsockopt of these options fail with ENOPROTOOPT in
// the whole process.
func rejectOptions(t *testing.T, options []rejectedOption) {
	const load, equal = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	filter := []unix.SockFilter{ // of struct seccomp_data: nr, and the lower halves of args
		{Code: load, K: 0},
		{Code: equal, Jt: 2, K: unix.SYS_SETSOCKOPT},
		{Code: equal, Jt: 1, K: unix.SYS_GETSOCKOPT},
		allow,
	}
	for _, o := range options {
		filter = append(filter,
			unix.SockFilter{Code: load, K: 24},
			unix.SockFilter{Code: equal, Jf: 3, K: uint32(o.level)},
			unix.SockFilter{Code: load, K: 32},
			unix.SockFilter{Code: equal, Jf: 1, K: uint32(o.name)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOPROTOOPT)},
		)
	}
	filter = append(filter, allow)
	require.NoError(t, sockettest.FilterSystemCalls(filter))
}

const oldKernel = "UDP_TEST_OLD_KERNEL"

// A socket works with less where an option is rejected, and Info says without what. Each
// kernel has a process of its own, which may remember what there is.
func TestRejectedOptionsCostTheirFeatureOnly(t *testing.T) {
	if i, err := strconv.Atoi(os.Getenv(oldKernel)); err == nil {
		if i >= 0 {
			rejectOptions(t, oldKernels[i].options)
		}
		fmt.Println("features:", strings.Join(features(t), " "))
		return
	}
	if _, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil {
		t.Skip("no seccomp: ", err)
	}
	under := func(t *testing.T, i int) []string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRejectedOptionsCostTheirFeatureOnly$", "-test.timeout=2m", "-test.v")
		cmd.Env = append(os.Environ(), oldKernel+"="+strconv.Itoa(i))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		_, rest, ok := strings.Cut(string(out), "features: ")
		require.True(t, ok, "%s", out)
		line, _, _ := strings.Cut(rest, "\n")
		return strings.Fields(line)
	}
	all := under(t, -1)
	for i, k := range oldKernels {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			lacks := strings.Fields(k.lacks)
			require.Subset(t, all, lacks)
			require.ElementsMatch(t, all, append(lacks, under(t, i)...))
		})
	}
}

// features opens sockets, checks that they work and returns which features they have.
func features(t *testing.T) (has []string) {
	q := udp.NewQueue(1000, udp.Block)
	c, err := udp.Config{Timestamps: true, ReadBuffer: 1 << 20}.Listen(t.Context(), "udp", "[::]:0", q)
	require.NoError(t, err)
	for _, to := range []string{"127.0.0.1", "[::1]"} {
		answers := udp.NewQueue(1000, udp.Block)
		d, err := udp.Dial(t.Context(), "udp", to+":"+strconv.Itoa(int(c.LocalAddrPort().Port())), answers)
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
			require.Equal(t, []byte{byte(i), 1}, sockettest.Next(t, answers.Datagrams()).Data)
		}
		sockettest.Stop(t, d)
	}
	group, err := udp.ListenMulticast(t.Context(), "udp4", "239.1.2.3:0", udp.BaseHandler{})
	if err == nil { // there may be no interface for it
		sockettest.Stop(t, group)
	}
	info := c.Info()
	for name, on := range map[string]bool{
		"PacketInfo": info.PacketInfo, "ECN": info.ECN, "ErrorQueue": info.ErrorQueue, "MulticastFilter": info.MulticastFilter,
		"Timestamps": info.Timestamps, "GRO": info.GRO, "GSO": info.GSO, "PortKept": info.PortKept,
		"KernelDrops": c.Stats().KernelDrops >= 0, "ReadBuffer": info.ReadBuffer > 0,
	} {
		if on {
			has = append(has, name)
		}
	}
	require.NoError(t, c.Shutdown(t.Context()))
	p, err := udp.Config{PeerErrors: true}.Listen(t.Context(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	if err == nil {
		has = append(has, "PeerErrors")
		sockettest.Stop(t, p)
	} else {
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	return has
}
