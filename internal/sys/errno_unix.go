//go:build unix

package sys

import (
	"errors"
	"syscall"
)

// repeat is of class Again.
const repeat = syscall.EAGAIN

// Classify returns the Class of an error of a read or a send.
func Classify(err error) Class {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return classifyPortable(err)
	}
	return classifyErrno(errno)
}
