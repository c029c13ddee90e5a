//go:build unix

package sys

import (
	"errors"
	"syscall"
)

// repeat is of class Again.
const repeat = syscall.EAGAIN

// Classify says what an error of a read or a send means.
func Classify(err error) Class {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return classifyPortable(err)
	}
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
