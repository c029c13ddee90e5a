//go:build unix && !linux

package sys

import "syscall"

func classifySystem(syscall.Errno) Class { return Other }
