package udptest

import "syscall"

type errno = syscall.ErrorString

// Plan 9 has no error numbers.
const (
	none          = errno("")
	eACCES        = syscall.ErrorString("permission denied")
	eADDRINUSE    = syscall.ErrorString("address already in use")
	eADDRNOTAVAIL = syscall.ErrorString("cannot assign requested address")
	eAGAIN        = syscall.ErrorString("resource temporarily unavailable")
	eCONNREFUSED  = syscall.ErrorString("connection refused")
	eHOSTUNREACH  = syscall.ErrorString("no route to host")
	eINVAL        = syscall.ErrorString("invalid argument")
	eISCONN       = syscall.ErrorString("socket is connected already")
	eMSGSIZE      = syscall.ErrorString("message too long")
	eNETDOWN      = syscall.ErrorString("network is down")
	eNETUNREACH   = syscall.ErrorString("network is unreachable")
	eNOBUFS       = syscall.ErrorString("no buffer space available")
	eNODEV        = syscall.ErrorString("no such device")
	eNOTCONN      = syscall.ErrorString("socket is not connected")
	eDESTADDRREQ  = syscall.ErrorString("destination address required")
)
