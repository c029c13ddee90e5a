package sys

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// Classify says what an error of a read or a send means.
func Classify(err error) Class {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return classifyPortable(err)
	}
	switch errno {
	case windows.WSAECONNRESET, windows.WSAECONNREFUSED, windows.ERROR_PORT_UNREACHABLE, syscall.ECONNREFUSED:
		return Report
	case windows.WSAENETRESET, windows.WSAEHOSTUNREACH, windows.WSAENETUNREACH, windows.WSAEACCES:
		return Unreachable // WSAENETRESET is a TTL that ran out (recvfrom, Return value)
	case windows.WSAEMSGSIZE:
		return TooLarge
	case windows.WSAENOBUFS:
		return NoBuffers
	case windows.WSAEWOULDBLOCK, windows.WSAEINTR:
		return Again
	case windows.WSAENOTCONN, windows.WSAEDESTADDRREQ:
		return NoPeer
	case windows.WSAENETDOWN, windows.WSAEADDRNOTAVAIL:
		return Down
	case windows.WSAENOTSOCK, windows.ERROR_INVALID_HANDLE:
		return Closed
	}
	return Other
}
