package conformance

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// native returns the Winsock error number for e. Those in package syscall are inventions
// of Go, which the simulated network uses on Windows too.
func native(e syscall.Errno) syscall.Errno {
	switch e {
	case syscall.EACCES:
		return windows.WSAEACCES
	case syscall.EADDRINUSE:
		return windows.WSAEADDRINUSE
	}
	return e
}
