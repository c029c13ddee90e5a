//go:build !udpbasic

package faults_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// reject makes recvmmsg and sendmmsg fail with errno in the whole process, as old
// kernels and sandboxes do.
func reject(t *testing.T, errno uint16) {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // struct seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.SYS_RECVMMSG},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_SENDMMSG},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	require.NoError(t, sockettest.FilterSystemCalls(filter))
}

const rejectedErrno = "UDP_TEST_REJECTED_ERRNO"

// A kernel or a sandbox that rejects recvmmsg and sendmmsg only makes a socket slower, with any
// errno and from any time on.
func TestRejectedBatchCallsCostNoDatagram(t *testing.T) {
	if errno := os.Getenv(rejectedErrno); errno != "" {
		n, err := strconv.Atoi(errno)
		require.NoError(t, err)
		underRejection(t, uint16(n))
		return
	}
	if _, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil {
		t.Skip("no seccomp: ", err)
	}
	for _, errno := range []unix.Errno{unix.ENOSYS, unix.EPERM, unix.EACCES, unix.EINVAL, unix.EOPNOTSUPP, unix.ECONNREFUSED, unix.EIO} {
		t.Run(errno.Error(), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestRejectedBatchCallsCostNoDatagram$", "-test.timeout=1m", "-test.v")
			cmd.Env = append(os.Environ(), rejectedErrno+"="+strconv.Itoa(int(errno)))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "--- PASS: TestRejectedBatchCallsCostNoDatagram")
		})
	}
}

func underRejection(t *testing.T, errno uint16) {
	ctx := context.Background()
	type arrival struct {
		to   string
		data string
	}
	received := make(chan arrival, 1000)
	handler := func(to string) udp.HandlerFunc {
		return func(_ *udp.Conn, d udp.Datagram) { received <- arrival{to, string(d.Data)} }
	}
	open := func(to string, network string) *udp.Conn {
		c, err := udp.Listen(ctx, network, "127.0.0.1:0", handler(to))
		require.NoError(t, err)
		t.Cleanup(func() { sockettest.Stop(t, c) })
		return c
	}
	check := func(what string, a, b *udp.Conn) {
		connected, err := udp.Dial(ctx, "udp4", b.LocalAddrPort().String(), handler("connected"))
		require.NoError(t, err)
		defer sockettest.Stop(t, connected)
		var ms []udp.Message
		var want []arrival
		for i := range 10 { // five to each; different lengths, and a run that is segmented
			to, name := a, "a"
			if i%2 == 1 {
				to, name = b, "b"
			}
			data := fmt.Sprintf("%s %0*d", what, i+1, i)
			ms = append(ms, udp.Message{Data: []byte(data), To: to.LocalAddrPort()})
			want = append(want, arrival{name, data})
		}
		for i := range 40 {
			data := fmt.Sprintf("%s segment %02d", what, i)
			ms = append(ms, udp.Message{Data: []byte(data), To: a.LocalAddrPort()})
			want = append(want, arrival{"a", data})
		}
		n, err := a.SendBatch(ms)
		require.NoError(t, err, what)
		require.Equal(t, len(ms), n, what)
		n, err = connected.SendBatch([]udp.Message{{Data: []byte("1")}, {Data: []byte("22")}, {Data: []byte("333")}})
		require.NoError(t, err, what)
		require.Equal(t, 3, n, what)
		want = append(want, arrival{"b", "1"}, arrival{"b", "22"}, arrival{"b", "333"})
		for i := range 3 {
			data := fmt.Sprintf("response %0*d", i+1, i)
			require.NoError(t, b.SendTo([]byte(data), connected.LocalAddrPort()))
			want = append(want, arrival{"connected", data})
		}
		var got []arrival
		for range want {
			select {
			case m := <-received:
				got = append(got, m)
			case <-time.After(sockettest.Patience):
				require.ElementsMatch(t, want, got, what)
			}
		}
		require.ElementsMatch(t, want, got, what)
		for _, c := range []*udp.Conn{a, b, connected.Conn} {
			require.Zero(t, c.Stats().ReadErrors, what)
		}
	}
	a, b := open("a", "udp4"), open("b", "udp4")
	check("before", a, b)
	require.Greater(t, a.Info().Batch, 1)
	reject(t, errno)
	check("open already", a, b)
	require.Equal(t, 1, a.Info().Batch)
	a, b = open("a", "udp4"), open("b", "udp4")
	require.Equal(t, 1, a.Info().Batch)
	check("opened since", a, b)
}
