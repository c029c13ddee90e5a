package sys

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// repeat is of class Again.
const repeat = syscall.Errno(wsaEWOULDBLOCK)

// Classify says what an error of a read or a send means.
func Classify(err error) Class {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return classifyPortable(err)
	}
	switch errno { // package syscall's own numbers
	case syscall.ECONNREFUSED:
		return Report
	case syscall.ENODEV:
		return Down
	case syscall.EAGAIN:
		return Again
	}
	return classifyWinsock(uintptr(errno))
}

// A number of winsock.go that is not Windows' does not compile: an array has no
// element but the first.
var _ = [...]struct{}{
	[1]struct{}{}[windows.ERROR_INVALID_HANDLE-winInvalidHandle],
	[1]struct{}{}[windows.ERROR_NETWORK_UNREACHABLE-winNetworkUnreachable],
	[1]struct{}{}[windows.ERROR_HOST_UNREACHABLE-winHostUnreachable],
	[1]struct{}{}[windows.ERROR_PROTOCOL_UNREACHABLE-winProtocolUnreachable],
	[1]struct{}{}[windows.ERROR_PORT_UNREACHABLE-winPortUnreachable],
	[1]struct{}{}[windows.WSAEINTR-wsaEINTR],
	[1]struct{}{}[windows.WSAEACCES-wsaEACCES],
	[1]struct{}{}[windows.WSAEWOULDBLOCK-wsaEWOULDBLOCK],
	[1]struct{}{}[windows.WSAENOTSOCK-wsaENOTSOCK],
	[1]struct{}{}[windows.WSAEDESTADDRREQ-wsaEDESTADDRREQ],
	[1]struct{}{}[windows.WSAEMSGSIZE-wsaEMSGSIZE],
	[1]struct{}{}[windows.WSAEAFNOSUPPORT-wsaEAFNOSUPPORT],
	[1]struct{}{}[windows.WSAEADDRNOTAVAIL-wsaEADDRNOTAVAIL],
	[1]struct{}{}[windows.WSAENETDOWN-wsaENETDOWN],
	[1]struct{}{}[windows.WSAENETUNREACH-wsaENETUNREACH],
	[1]struct{}{}[windows.WSAENETRESET-wsaENETRESET],
	[1]struct{}{}[windows.WSAECONNRESET-wsaECONNRESET],
	[1]struct{}{}[windows.WSAENOBUFS-wsaENOBUFS],
	[1]struct{}{}[windows.WSAENOTCONN-wsaENOTCONN],
	[1]struct{}{}[windows.WSAECONNREFUSED-wsaECONNREFUSED],
	[1]struct{}{}[windows.WSAEHOSTUNREACH-wsaEHOSTUNREACH],
}
