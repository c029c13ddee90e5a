//go:build (!unix && !windows) || aix

package sys

import "syscall"

// waiter does nothing: the read itself waits, and has a buffer meanwhile.
type waiter struct{}

func newWaiter(func()) waiter { return waiter{} }

func (waiter) wait(syscall.RawConn) error { return nil }
