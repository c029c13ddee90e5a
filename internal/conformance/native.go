//go:build !windows

package conformance

import "syscall"

// native returns the error number that this system uses for e.
func native(e syscall.Errno) syscall.Errno { return e }
