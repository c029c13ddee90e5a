//go:build unix || windows

package sys

import (
	"errors"
	"os"
	"slices"
	"syscall"
)

// A winsockError is an error number of Windows that errors.Is also finds by names of package
// syscall. On Windows those are other numbers, which Go invented so that programs compile. By
// them errors.Is also finds os.ErrPermission and errors.ErrUnsupported.
type winsockError struct {
	error         // the syscall.Errno
	names []error // never empty
}

// Unwrap returns the number itself.
func (e winsockError) Unwrap() error { return e.error }

// Is reports whether target is one of the names, or one of them is target.
func (e winsockError) Is(target error) bool {
	return slices.ContainsFunc(e.names, func(name error) bool { return errors.Is(name, target) })
}

// Timeout and Temporary return those of the first name, for net.OpError.
func (e winsockError) Timeout() bool   { return e.names[0].(syscall.Errno).Timeout() }
func (e winsockError) Temporary() bool { return e.names[0].(syscall.Errno).Temporary() }

// winsockNames are the names of package syscall for Windows' numbers.
var winsockNames = map[syscall.Errno][]error{
	winInvalidFunction:     {syscall.EOPNOTSUPP}, // of a driver
	winAccessDenied:        {syscall.EACCES},
	winInvalidHandle:       {syscall.EBADF},
	winNotEnoughMemory:     {syscall.ENOMEM},
	winNotSupported:        {syscall.EOPNOTSUPP},
	winMoreData:            {syscall.EMSGSIZE},
	winNetworkUnreachable:  {syscall.ENETUNREACH},
	winHostUnreachable:     {syscall.EHOSTUNREACH},
	winProtocolUnreachable: {syscall.ENOPROTOOPT}, // as on Linux
	winPortUnreachable:     {syscall.ECONNREFUSED},
	winNoSystemResources:   {syscall.ENOBUFS},
	wsaEINTR:               {syscall.EINTR},
	wsaEACCES:              {syscall.EACCES},
	wsaEFAULT:              {syscall.EFAULT},
	wsaEINVAL:              {syscall.EINVAL},
	wsaEMFILE:              {syscall.EMFILE},
	wsaEWOULDBLOCK:         {syscall.EAGAIN, syscall.EWOULDBLOCK},
	wsaENOTSOCK:            {syscall.ENOTSOCK},
	wsaEDESTADDRREQ:        {syscall.EDESTADDRREQ},
	wsaEMSGSIZE:            {syscall.EMSGSIZE},
	wsaENOPROTOOPT:         {syscall.ENOPROTOOPT},
	wsaEPROTONOSUPPORT:     {syscall.EPROTONOSUPPORT},
	wsaEOPNOTSUPP:          {syscall.EOPNOTSUPP},
	wsaEAFNOSUPPORT:        {syscall.EAFNOSUPPORT},
	wsaEADDRINUSE:          {syscall.EADDRINUSE},
	wsaEADDRNOTAVAIL:       {syscall.EADDRNOTAVAIL},
	wsaENETDOWN:            {syscall.ENETDOWN},
	wsaENETUNREACH:         {syscall.ENETUNREACH},
	wsaENETRESET:           {syscall.ENETRESET},
	wsaECONNABORTED:        {syscall.ECONNABORTED},
	wsaECONNRESET:          {syscall.ECONNREFUSED, syscall.ECONNRESET}, // of UDP: a port unreachable (WSARecvFrom)
	wsaENOBUFS:             {syscall.ENOBUFS},
	wsaEISCONN:             {syscall.EISCONN},
	wsaENOTCONN:            {syscall.ENOTCONN},
	wsaESHUTDOWN:           {syscall.ESHUTDOWN},
	wsaETIMEDOUT:           {syscall.ETIMEDOUT},
	wsaECONNREFUSED:        {syscall.ECONNREFUSED},
	wsaEHOSTDOWN:           {syscall.EHOSTDOWN},
	wsaEHOSTUNREACH:        {syscall.EHOSTUNREACH},
}

// nameWinsock gives an error number of Windows its names. err is a syscall.Errno or an
// *os.SyscallError with one; any other error is returned unchanged.
func nameWinsock(err error) error {
	switch e := err.(type) {
	case syscall.Errno:
		if names := winsockNames[e]; names != nil {
			return winsockError{e, names}
		}
	case *os.SyscallError:
		errno, ok := e.Err.(syscall.Errno)
		if !ok {
			return err
		}
		names := winsockNames[errno]
		if e.Syscall == "bind" && errno == wsaEACCES { // the port is another's with SO_EXCLUSIVEADDRUSE
			names = []error{syscall.EADDRINUSE, syscall.EACCES}
		}
		if names != nil {
			return &os.SyscallError{Syscall: e.Syscall, Err: winsockError{errno, names}}
		}
	case interface{ Errno() syscall.Errno }: // an NTSTATUS of package net's
		return nameWinsock(e.Errno())
	}
	return err
}
