//go:build unix || windows

package sys

import "syscall"

// classifyErrno is Classify for the names of package syscall. On Windows these are inventions
// of Go; there the toolkit and the simulated network return them.
func classifyErrno(errno syscall.Errno) Class {
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENOPROTOOPT, syscall.EHOSTDOWN:
		return Report
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EACCES, syscall.EPROTO, syscall.EOPNOTSUPP:
		return Unreachable
	case syscall.EMSGSIZE:
		return TooLarge
	case syscall.ENOBUFS, syscall.ENOMEM:
		return NoBuffers
	case syscall.EAGAIN, syscall.EINTR:
		return Again
	case syscall.EPERM:
		return Denied
	case syscall.EDESTADDRREQ, syscall.ENOTCONN:
		return NoPeer
	case syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.ENODEV, syscall.ENXIO:
		return Down
	case syscall.EBADF, syscall.ENOTSOCK:
		return Closed
	}
	return classifySystem(errno)
}
