//go:build (amd64 || arm64) && !udpbasic

package faults_test

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/sockettest"
)

// A rejected call fails: setsockopt and getsockopt of an option, or another system call, with this
// first argument unless it is negative.
type rejected struct {
	level, name int // of the option
	call        uintptr
	first       int
}

func option(level, name int) rejected { return rejected{level: level, name: name} }

// limited has kernels and sandboxes that lack something, which a filter makes this kernel lack.
// The first rows are kernels, with everything that they lack. Each of the others lacks one call
// that no socket needs.
var limited = []struct {
	name  string
	lacks string // of the results of features
	calls []rejected
}{
	{"Linux 4.17", "GSO GRO MulticastFilter", slices.Concat(since418, since420, since50, since51, since514)},
	{"Linux 4.18", "GRO MulticastFilter", slices.Concat(since420, since50, since51, since514)},
	{"Linux 5.0", "", slices.Concat(since51, since514)},
	{"UDP_SEGMENT", "GSO", since418},
	{"UDP_GRO", "GRO", since50[:1]},
	{"UDP_CORK", "", []rejected{option(unix.SOL_UDP, unix.UDP_CORK)}},
	{"IP_PKTINFO", "", []rejected{option(unix.IPPROTO_IP, unix.IP_PKTINFO)}},
	{"IPV6_RECVPKTINFO", "PacketInfo", []rejected{option(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO)}},
	{"IP_RECVTOS", "ECN", []rejected{option(unix.IPPROTO_IP, unix.IP_RECVTOS)}},
	{"IPV6_RECVTCLASS", "ECN", []rejected{option(unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS)}},
	{"IP_RECVTTL", "", []rejected{option(unix.IPPROTO_IP, unix.IP_RECVTTL)}},
	{"IPV6_RECVHOPLIMIT", "", []rejected{option(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT)}},
	{"IP_RECVERR", "ErrorQueue PeerErrors", []rejected{option(unix.IPPROTO_IP, unix.IP_RECVERR)}},
	{"IPV6_RECVERR", "ErrorQueue PeerErrors", []rejected{option(unix.IPPROTO_IPV6, unix.IPV6_RECVERR)}},
	{"IP_MULTICAST_ALL", "MulticastFilter", []rejected{option(unix.IPPROTO_IP, unix.IP_MULTICAST_ALL)}},
	{"IPV6_MULTICAST_ALL", "MulticastFilter", since420},
	{"SO_TIMESTAMPNS", "Timestamps", []rejected{option(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS), option(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW)}},
	{"SO_TIMESTAMPING", "", []rejected{option(unix.SOL_SOCKET, unix.SO_TIMESTAMPING)}},
	{"SO_MEMINFO", "KernelDrops", []rejected{option(unix.SOL_SOCKET, unix.SO_MEMINFO)}},
	{"SO_RXQ_OVFL", "", []rejected{option(unix.SOL_SOCKET, unix.SO_RXQ_OVFL)}},
	{"SO_ATTACH_FILTER", "", []rejected{option(unix.SOL_SOCKET, unix.SO_ATTACH_FILTER)}},
	{"SO_DETACH_FILTER", "", []rejected{option(unix.SOL_SOCKET, unix.SO_DETACH_FILTER)}},
	{"SO_RCVBUF", "ReadBuffer", []rejected{option(unix.SOL_SOCKET, unix.SO_RCVBUF)}},
	{"SO_SNDBUF", "WriteBuffer", []rejected{option(unix.SOL_SOCKET, unix.SO_SNDBUF)}},
	{"SO_RCVBUFFORCE", "", []rejected{option(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE)}},
	{"SO_SNDBUFFORCE", "", []rejected{option(unix.SOL_SOCKET, unix.SO_SNDBUFFORCE)}},
	{"SO_REUSEPORT", "Group", []rejected{option(unix.SOL_SOCKET, unix.SO_REUSEPORT)}},
	{"SO_ATTACH_REUSEPORT_EBPF", "", []rejected{option(unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF)}},
	{"SO_ATTACH_REUSEPORT_CBPF", "", []rejected{option(unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF)}},
	{"SO_BINDTOIFINDEX", "", since50[1:]},
	{"SO_NETNS_COOKIE", "", since514},
	{"SO_DOMAIN", "", []rejected{option(unix.SOL_SOCKET, unix.SO_DOMAIN)}},
	{"SO_PROTOCOL", "", []rejected{option(unix.SOL_SOCKET, unix.SO_PROTOCOL)}},
	{"bpf", "", []rejected{{call: unix.SYS_BPF, first: -1}}},
	{"membarrier", "", []rejected{{call: unix.SYS_MEMBARRIER, first: -1}}},
	{"netlink", "", []rejected{{call: unix.SYS_SOCKET, first: unix.AF_NETLINK}}},
	{"recvmmsg", "Batch", []rejected{{call: unix.SYS_RECVMMSG, first: -1}}},
	{"sendmmsg", "Batch", []rejected{{call: unix.SYS_SENDMMSG, first: -1}}},
	{"ioctl", "", []rejected{{call: unix.SYS_IOCTL, first: -1}}},
}

var (
	since418 = []rejected{option(unix.SOL_UDP, unix.UDP_SEGMENT)}
	since420 = []rejected{option(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL)}
	since50  = []rejected{option(unix.SOL_UDP, unix.UDP_GRO), option(unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)}
	since51  = []rejected{option(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW)}
	since514 = []rejected{option(unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)}
)

var everyErrno = flag.Bool("every-errno", false, "reject each call with every errno, not with two of them (several minutes)")

// rejections are the ways in which calls are rejected: that of a kernel that lacks the call, and
// those of sandboxes. Each row of limited is tested with two of them.
var rejections = []struct {
	errno unix.Errno
	reads bool // also getsockopt
}{
	{unix.ENOPROTOOPT, true},
	{unix.EPERM, false},
	{unix.ENOSYS, true},
	{unix.EINVAL, false},
	{unix.EPERM, true},
	{unix.ENOPROTOOPT, false},
	{unix.EINVAL, true},
	{unix.ENOSYS, false},
}

// rejectCalls makes these calls fail in the whole process.
func rejectCalls(t *testing.T, calls []rejected, errno unix.Errno, reads bool) {
	const load, equal = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	fails := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	var filter []unix.SockFilter // of struct seccomp_data: nr, and the lower halves of args
	for _, c := range calls {
		numbers := []uintptr{c.call}
		if c.call == 0 {
			numbers = []uintptr{unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT}[:1+map[bool]int{true: 1}[reads]]
		}
		for _, number := range numbers {
			conditions := []unix.SockFilter{{Code: load, K: 0}, {Code: equal, K: uint32(number)}}
			if c.call == 0 {
				conditions = append(conditions, unix.SockFilter{Code: load, K: 24}, unix.SockFilter{Code: equal, K: uint32(c.level)},
					unix.SockFilter{Code: load, K: 32}, unix.SockFilter{Code: equal, K: uint32(c.name)})
			} else if c.first >= 0 {
				conditions = append(conditions, unix.SockFilter{Code: load, K: 16}, unix.SockFilter{Code: equal, K: uint32(c.first)})
			}
			for i := range conditions {
				if conditions[i].Code == equal { // or else behind them and fails
					conditions[i].Jf = uint8(len(conditions) - i)
				}
			}
			filter = append(append(filter, conditions...), fails)
		}
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	require.NoError(t, sockettest.FilterSystemCalls(filter))
}

// The variables of a process of the test: a row of limited, one of rejections and, unless empty,
// that loopback coalesces.
const (
	limitedProcess = "UDP_TEST_LIMITED"
	coalescing     = "UDP_TEST_COALESCES"
)

// If a call is rejected, with any errno, a socket works without a feature, and Info says which.
// Each kernel has a process of its own, because a process may cache what it finds.
func TestRejectedOptionsCostTheirFeatureOnly(t *testing.T) {
	if how := os.Getenv(limitedProcess); how != "" {
		var row, rejection int
		_, err := fmt.Sscan(how, &row, &rejection)
		require.NoError(t, err)
		lo, err := net.InterfaceByIndex(1) // by netlink
		require.NoError(t, err)
		if row >= 0 {
			rejectCalls(t, limited[row].calls, rejections[rejection].errno, rejections[rejection].reads)
		}
		fmt.Println("features:", strings.Join(features(t, lo), " "))
		infoIsTrue(t, lo)
		return
	}
	if _, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil {
		t.Skip("no seccomp: ", err)
	}
	coalesces := sockettest.LoopbackCoalesces()
	under := func(t *testing.T, row, rejection int, promises string) []string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRejectedOptionsCostTheirFeatureOnly$/.*/"+promises, "-test.timeout=2m", "-test.v")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", limitedProcess, row, rejection))
		if coalesces {
			cmd.Env = append(cmd.Env, coalescing+"=1")
		}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		_, rest, ok := strings.Cut(string(out), "features: ")
		require.True(t, ok, "%s", out)
		line, _, _ := strings.Cut(rest, "\n")
		return strings.Fields(line)
	}
	all := under(t, -1, 0, "Info")
	for row, k := range limited {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			lacks := strings.Fields(k.lacks)
			require.Subset(t, all, lacks)
			if strings.HasPrefix(k.name, "Linux ") {
				require.ElementsMatch(t, all, append(lacks, under(t, row, 0, "")...))
				return
			}
			for i, r := range rejections {
				if i/2%4 != row%4 && !*everyErrno {
					continue
				}
				what := fmt.Sprintf("%v, getsockopt too: %v", r.errno, r.reads)
				has := under(t, row, i, "Info")
				if r.reads || k.calls[0].call != 0 {
					require.ElementsMatch(t, all, append(lacks, has...), what)
				} else { // it may work without having been set
					require.Subset(t, all, has, what)
				}
			}
		})
	}
}
