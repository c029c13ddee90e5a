package udp_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// The kernel's buffers are set to what was asked for as far as the limit permits; Info
// reports the result, and Listen never fails for it.
func TestSocketBuffers(t *testing.T) {
	info := func(t *testing.T, cfg udp.Config) udp.Info {
		return sockettest.Listen(t, cfg, "udp4", udp.BaseHandler{}).Info()
	}
	t.Run("the system's default", func(t *testing.T) {
		i := info(t, udp.Config{})
		require.Positive(t, i.ReadBuffer)
		require.Positive(t, i.WriteBuffer)
	})
	t.Run("what is asked for is granted", func(t *testing.T) {
		i := info(t, udp.Config{ReadBuffer: 20_000, WriteBuffer: 10_000}) // below every limit
		require.Equal(t, 20_000, i.ReadBuffer)
		require.Equal(t, 10_000, i.WriteBuffer)
	})
	t.Run("too little becomes the least", func(t *testing.T) {
		i := info(t, udp.Config{ReadBuffer: 1, WriteBuffer: 1})
		require.Positive(t, i.ReadBuffer)
		require.Positive(t, i.WriteBuffer)
	})
	t.Run("more than the limit is forced by root and cut for others", func(t *testing.T) {
		limit := limitOf(t, "rmem_max")
		i := info(t, udp.Config{ReadBuffer: 2 * limit})
		if forces(t, limit) {
			require.Equal(t, 2*limit, i.ReadBuffer)
		} else {
			require.Equal(t, limit, i.ReadBuffer)
		}
		limit = limitOf(t, "wmem_max")
		i = info(t, udp.Config{WriteBuffer: 2 * limit})
		if forces(t, limit) {
			require.Equal(t, 2*limit, i.WriteBuffer)
		} else {
			require.Equal(t, limit, i.WriteBuffer)
		}
	})
	t.Run("more than there is", func(t *testing.T) {
		i := info(t, udp.Config{ReadBuffer: 1<<31 - 1, WriteBuffer: 1<<31 - 1})
		require.Positive(t, i.ReadBuffer)
		require.Positive(t, i.WriteBuffer)
	})
}

// limitOf is a limit of Linux's for buffers, in bytes.
func limitOf(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/net/core/" + name)
	if err != nil {
		t.Skip(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	if n > 1<<28 {
		t.Skipf("a limit of %d bytes is nearly none", n)
	}
	return n
}

// forces reports whether this process may pass the limit (CAP_NET_ADMIN).
func forces(t *testing.T, limit int) (may bool) {
	t.Helper()
	uc := sockettest.ListenNet(t, "udp4")
	rc, err := uc.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) { may = force(fd, 2*limit) }))
	return may
}

// A Conn's raw connection sets options that the package does not have.
func TestSyscallConn(t *testing.T) {
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
	rc, err := c.SyscallConn()
	require.NoError(t, err)
	called := false
	require.NoError(t, rc.Control(func(uintptr) { called = true }))
	require.True(t, called)
	sockettest.Stop(t, c)
	require.Error(t, rc.Control(func(uintptr) {}))
}

// Config.Control is called before bind, and its error is Listen's.
func TestControl(t *testing.T) {
	var network, address string
	cfg := udp.Config{Control: func(n, a string, _ syscall.RawConn) error { network, address = n, a; return nil }}
	c := sockettest.Listen(t, cfg, "udp4", udp.BaseHandler{})
	require.Equal(t, "udp4", network)
	require.Equal(t, "127.0.0.1:0", address)
	require.NotZero(t, c.LocalAddrPort().Port())

	cfg.Control = func(string, string, syscall.RawConn) error { return syscall.EDOM }
	_, err := cfg.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	sockettest.RequireOpError(t, err, "listen")
	require.ErrorIs(t, err, syscall.EDOM)
	_, err = cfg.Dial(t.Context(), "udp4", "127.0.0.1:9", udp.BaseHandler{})
	sockettest.RequireOpError(t, err, "dial")
	require.ErrorIs(t, err, syscall.EDOM)
}

// Stats and Info can be printed: what is zero is left out.
func TestStatsAndInfoInLogs(t *testing.T) {
	s := udp.Stats{Received: 3, Handled: 2, KernelDrops: -1}
	s.Dropped.Queue = 1
	require.Equal(t, "received=3 handled=2 dropped_queue=1", s.String())
	require.Empty(t, udp.Stats{}.String())
	require.Equal(t, "read_buffer=4096 packet_info batch=1", udp.Info{ReadBuffer: 4096, PacketInfo: true, Batch: 1}.String())
}
