package sys

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// repeat is of class Again.
const repeat = syscall.Errno(wsaEWOULDBLOCK)

// Classify returns the Class of an error of a read or a send.
func Classify(err error) Class {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return classifyPortable(err)
	}
	if errno >= syscall.APPLICATION_ERROR {
		return classifyErrno(errno)
	}
	return classifyWinsock(uintptr(errno))
}

// named is nameWinsock: errors that leave this package match the names of package syscall.
func named(err error) error { return nameWinsock(err) }

// ErrnoOf returns the error number inside err, or err.
func ErrnoOf(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return nameWinsock(errno)
	}
	return err
}

// If a number of winsock.go differs from Windows', this does not compile: the array has no
// element but the first.
var _ = [...]struct{}{
	[1]struct{}{}[windows.ERROR_INVALID_FUNCTION-winInvalidFunction],
	[1]struct{}{}[windows.ERROR_ACCESS_DENIED-winAccessDenied],
	[1]struct{}{}[windows.ERROR_INVALID_HANDLE-winInvalidHandle],
	[1]struct{}{}[windows.ERROR_NOT_ENOUGH_MEMORY-winNotEnoughMemory],
	[1]struct{}{}[windows.ERROR_NOT_SUPPORTED-winNotSupported],
	[1]struct{}{}[windows.ERROR_MORE_DATA-winMoreData],
	[1]struct{}{}[windows.ERROR_NETWORK_UNREACHABLE-winNetworkUnreachable],
	[1]struct{}{}[windows.ERROR_HOST_UNREACHABLE-winHostUnreachable],
	[1]struct{}{}[windows.ERROR_PROTOCOL_UNREACHABLE-winProtocolUnreachable],
	[1]struct{}{}[windows.ERROR_PORT_UNREACHABLE-winPortUnreachable],
	[1]struct{}{}[windows.ERROR_NO_SYSTEM_RESOURCES-winNoSystemResources],
	[1]struct{}{}[windows.WSAEINTR-wsaEINTR],
	[1]struct{}{}[windows.WSAEACCES-wsaEACCES],
	[1]struct{}{}[windows.WSAEFAULT-wsaEFAULT],
	[1]struct{}{}[windows.WSAEINVAL-wsaEINVAL],
	[1]struct{}{}[windows.WSAEMFILE-wsaEMFILE],
	[1]struct{}{}[windows.WSAEWOULDBLOCK-wsaEWOULDBLOCK],
	[1]struct{}{}[windows.WSAENOTSOCK-wsaENOTSOCK],
	[1]struct{}{}[windows.WSAEDESTADDRREQ-wsaEDESTADDRREQ],
	[1]struct{}{}[windows.WSAEMSGSIZE-wsaEMSGSIZE],
	[1]struct{}{}[windows.WSAENOPROTOOPT-wsaENOPROTOOPT],
	[1]struct{}{}[windows.WSAEPROTONOSUPPORT-wsaEPROTONOSUPPORT],
	[1]struct{}{}[windows.WSAEOPNOTSUPP-wsaEOPNOTSUPP],
	[1]struct{}{}[windows.WSAEAFNOSUPPORT-wsaEAFNOSUPPORT],
	[1]struct{}{}[windows.WSAEADDRINUSE-wsaEADDRINUSE],
	[1]struct{}{}[windows.WSAEADDRNOTAVAIL-wsaEADDRNOTAVAIL],
	[1]struct{}{}[windows.WSAENETDOWN-wsaENETDOWN],
	[1]struct{}{}[windows.WSAENETUNREACH-wsaENETUNREACH],
	[1]struct{}{}[windows.WSAENETRESET-wsaENETRESET],
	[1]struct{}{}[windows.WSAECONNABORTED-wsaECONNABORTED],
	[1]struct{}{}[windows.WSAECONNRESET-wsaECONNRESET],
	[1]struct{}{}[windows.WSAENOBUFS-wsaENOBUFS],
	[1]struct{}{}[windows.WSAEISCONN-wsaEISCONN],
	[1]struct{}{}[windows.WSAENOTCONN-wsaENOTCONN],
	[1]struct{}{}[windows.WSAESHUTDOWN-wsaESHUTDOWN],
	[1]struct{}{}[windows.WSAETIMEDOUT-wsaETIMEDOUT],
	[1]struct{}{}[windows.WSAECONNREFUSED-wsaECONNREFUSED],
	[1]struct{}{}[windows.WSAEHOSTDOWN-wsaEHOSTDOWN],
	[1]struct{}{}[windows.WSAEHOSTUNREACH-wsaEHOSTUNREACH],
}
