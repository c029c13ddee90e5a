//go:build (!unix && !windows) || aix

package sys

import "syscall"

func queued(syscall.RawConn) (waits, known bool) { return false, false }
