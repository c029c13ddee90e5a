//go:build amd64 || arm64

package addressing_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Before Linux 5.14 a network namespace has no cookie (SO_NETNS_COOKIE), and the socket is in
// another one than the thread all the same.
func TestRepliesLeaveFromAddressesThatAreLocalByRouteWithoutCookies(t *testing.T) {
	netns.Isolated(t, func() {
		const load, equal = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		filter := []unix.SockFilter{ // of struct seccomp_data: nr, and the lower halves of args
			{Code: load, K: 0}, {Code: equal, K: unix.SYS_GETSOCKOPT, Jf: 5},
			{Code: load, K: 24}, {Code: equal, K: unix.SOL_SOCKET, Jf: 3},
			{Code: load, K: 32}, {Code: equal, K: unix.SO_NETNS_COOKIE, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOPROTOOPT)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		if err := sockettest.FilterSystemCalls(filter); err != nil {
			t.Skip("seccomp: ", err)
		}
		repliesFromLocalRoutes(t)
	})
}
