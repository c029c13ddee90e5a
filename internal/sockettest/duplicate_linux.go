package sockettest

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Duplicate is another descriptor of a socket, as a successor process has one.
func Duplicate(t testing.TB, s syscall.Conn) *net.UDPConn {
	t.Helper()
	rc, err := s.SyscallConn()
	require.NoError(t, err)
	fd := -1
	require.NoError(t, rc.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }))
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "duplicate")
	defer f.Close()
	pc, err := net.FilePacketConn(f)
	require.NoError(t, err)
	t.Cleanup(func() { pc.Close() })
	return pc.(*net.UDPConn)
}
