//go:build !plan9

package sys

import "syscall"

// The errnos that the toolkit itself returns.
const (
	EADDRNOTAVAIL = syscall.EADDRNOTAVAIL
	EAFNOSUPPORT  = syscall.EAFNOSUPPORT
	ENOPROTOOPT   = syscall.ENOPROTOOPT
	EAGAIN        = syscall.EAGAIN
	EINVAL        = syscall.EINVAL
	EADDRINUSE    = syscall.EADDRINUSE
	ECONNABORTED  = syscall.ECONNABORTED
	ENETUNREACH   = syscall.ENETUNREACH
	ENETDOWN      = syscall.ENETDOWN
	ENODEV        = syscall.ENODEV
	EISCONN       = syscall.EISCONN
	EMSGSIZE      = syscall.EMSGSIZE
	ENOTCONN      = syscall.ENOTCONN
	EDESTADDRREQ  = syscall.EDESTADDRREQ
)

// Errno is the type of the system's errors.
type Errno = syscall.Errno
