package sys

import "syscall"

// Plan 9 has error strings instead of numbers.
const (
	EADDRNOTAVAIL = syscall.ErrorString("cannot assign requested address")
	EAFNOSUPPORT  = syscall.ErrorString("address family not supported")
	ENOPROTOOPT   = syscall.ErrorString("protocol not available")
	EAGAIN        = syscall.ErrorString("resource temporarily unavailable")
	EINVAL        = syscall.ErrorString("invalid argument")
	ECONNABORTED  = syscall.ErrorString("connection aborted")
	ENETUNREACH   = syscall.ErrorString("network is unreachable")
	EADDRINUSE    = syscall.ErrorString("address in use")
	ENETDOWN      = syscall.ErrorString("network is down")
	ENODEV        = syscall.ErrorString("no such device")
	EISCONN       = syscall.ErrorString("socket is connected already")
	EMSGSIZE      = syscall.ErrorString("message too long")
	ENOTCONN      = syscall.ErrorString("socket is not connected")
	EDESTADDRREQ  = syscall.ErrorString("destination address required")
)

// Errno is the type of the system's errors.
type Errno = syscall.ErrorString
