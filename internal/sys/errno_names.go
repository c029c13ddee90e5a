//go:build !windows

package sys

import "errors"

// named does nothing: package syscall has the system's own error numbers.
func named(err error) error { return err }

// ErrnoOf returns the error number inside err, or err.
func ErrnoOf(err error) error {
	if errno, ok := errors.AsType[Errno](err); ok {
		return errno
	}
	return err
}
