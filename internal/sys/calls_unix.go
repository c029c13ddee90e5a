//go:build unix

package sys

import "os"

// Call names the system call in an error of a read or a send, as package net does,
// for programs that look at the name.
func Call(name string, err error) error {
	if e, ok := err.(*os.SyscallError); ok && e.Syscall != name {
		return os.NewSyscallError(name, e.Err)
	}
	return err
}
