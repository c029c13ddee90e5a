package udptest

import "golang.org/x/sys/windows"

// native is what the system itself says for an errno: Winsock has numbers of its
// own, and those of package syscall are the toolkit's and the simulation's.
func native(e errno) errno {
	switch e {
	case eACCES:
		return windows.WSAEACCES
	case eADDRINUSE:
		return windows.WSAEADDRINUSE
	}
	return e
}
