//go:build !plan9

package udptest

import "syscall"

type errno = syscall.Errno

// Error numbers that Linux returns, and into which it translates ICMP errors.
const (
	none          = errno(0)
	eACCES        = syscall.EACCES
	eADDRINUSE    = syscall.EADDRINUSE
	eADDRNOTAVAIL = syscall.EADDRNOTAVAIL
	eAGAIN        = syscall.EAGAIN
	eCONNREFUSED  = syscall.ECONNREFUSED
	eHOSTUNREACH  = syscall.EHOSTUNREACH
	eINVAL        = syscall.EINVAL
	eISCONN       = syscall.EISCONN
	eMSGSIZE      = syscall.EMSGSIZE
	eNETDOWN      = syscall.ENETDOWN
	eNETUNREACH   = syscall.ENETUNREACH
	eNOBUFS       = syscall.ENOBUFS
	eNODEV        = syscall.ENODEV
	eNOTCONN      = syscall.ENOTCONN
	eDESTADDRREQ  = syscall.EDESTADDRREQ
)
