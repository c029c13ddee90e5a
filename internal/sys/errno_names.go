//go:build !windows

package sys

import "errors"

// named has nothing to do: the names of error numbers are the system's own.
func named(err error) error { return err }

// ErrnoOf returns the error number inside err, or err.
func ErrnoOf(err error) error {
	if errno, ok := errors.AsType[Errno](err); ok {
		return errno
	}
	return err
}
