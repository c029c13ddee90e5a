package sockettest

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
)

// Option returns an option of a socket.
func Option(t *testing.T, c *udp.Conn, level, name int) (value int) {
	t.Helper()
	rc, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }))
	require.NoError(t, err)
	return value
}

// SetOption sets an option of a socket.
func SetOption(t testing.TB, s syscall.Conn, level, option, value int) {
	t.Helper()
	rc, err := s.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) }))
	require.NoError(t, err)
}

// Descriptors counts the sockets of this process.
func Descriptors(t *testing.T) (n int) {
	t.Helper()
	runtime.GC()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && len(to) > 7 && to[:7] == "socket:" {
			n++
		}
	}
	return n
}
