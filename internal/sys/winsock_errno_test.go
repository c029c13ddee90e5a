//go:build unix || windows

package sys

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the contract promises by errors.Is holds for the numbers of Windows.
func TestWindowsErrorsHaveTheNamesOfOtherSystems(t *testing.T) {
	for _, test := range []struct {
		call   string
		number syscall.Errno
		is     []error
	}{
		{"bind", 10048, []error{syscall.EADDRINUSE}},
		{"bind", 10013, []error{syscall.EADDRINUSE, syscall.EACCES, os.ErrPermission}},
		{"bind", 10049, []error{syscall.EADDRNOTAVAIL}},
		{"wsasendto", 10013, []error{syscall.EACCES, os.ErrPermission}},
		{"wsasendto", 10040, []error{syscall.EMSGSIZE}},
		{"wsasendto", 10051, []error{syscall.ENETUNREACH}},
		{"wsasendto", 10065, []error{syscall.EHOSTUNREACH}},
		{"wsarecv", 10054, []error{syscall.ECONNREFUSED, syscall.ECONNRESET}},
		{"wsarecv", 1234, []error{syscall.ECONNREFUSED}},
		{"wsasendto", 1450, []error{syscall.ENOBUFS}},
		{"wsasendto", 8, []error{syscall.ENOMEM}},
		{"wsasendto", 10064, []error{syscall.EHOSTDOWN}},
		{"wsasendto", 10058, []error{syscall.ESHUTDOWN}},
		{"wsarecv", 234, []error{syscall.EMSGSIZE}},
		{"setsockopt", 5, []error{syscall.EACCES, os.ErrPermission}},
		{"wsaioctl", 50, []error{syscall.EOPNOTSUPP, errors.ErrUnsupported}},
		{"wsasend", 10057, []error{syscall.ENOTCONN}},
		{"setsockopt", 10042, []error{syscall.ENOPROTOOPT}},
		{"setsockopt", 10045, []error{syscall.EOPNOTSUPP, errors.ErrUnsupported}},
		{"setsockopt", 10022, []error{syscall.EINVAL}},
	} {
		// As package net wraps it.
		err := error(&net.OpError{Op: "op", Err: nameWinsock(os.NewSyscallError(test.call, test.number))})
		for _, target := range append(test.is, test.number) {
			require.ErrorIs(t, err, target, "%s: %d", test.call, test.number)
		}
		require.NotErrorIs(t, err, syscall.EPERM)
		var call *os.SyscallError
		require.ErrorAs(t, err, &call)
		require.Equal(t, test.call, call.Syscall)
		var errno syscall.Errno
		require.ErrorAs(t, err, &errno)
		require.Equal(t, test.number, errno)
		require.Equal(t, "op: "+os.NewSyscallError(test.call, test.number).Error(), err.Error(), "the text stays")
	}
	require.ErrorIs(t, nameWinsock(syscall.Errno(10048)), syscall.EADDRINUSE)
	require.True(t, nameWinsock(syscall.Errno(10060)).(net.Error).Timeout())
	require.False(t, nameWinsock(syscall.Errno(10048)).(net.Error).Timeout())
	for _, err := range []error{nil, net.ErrClosed, syscall.Errno(9999), os.NewSyscallError("bind", net.ErrClosed)} {
		require.Equal(t, err, nameWinsock(err))
	}
}
