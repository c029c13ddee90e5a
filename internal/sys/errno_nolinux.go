//go:build (unix && !linux) || windows

package sys

import "syscall"

func classifySystem(syscall.Errno) Class { return Other }
