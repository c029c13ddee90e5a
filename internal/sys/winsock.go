package sys

// Windows' error numbers, without a build constraint, so that their classes and names are tested
// on every system. Each error has a number of Windows Sockets and another one of the system, which
// a completion port returns.
const (
	winInvalidFunction     = 1
	winAccessDenied        = 5
	winInvalidHandle       = 6
	winNotEnoughMemory     = 8
	winNotSupported        = 50
	winMoreData            = 234
	winNetworkUnreachable  = 1231
	winHostUnreachable     = 1232
	winProtocolUnreachable = 1233
	winPortUnreachable     = 1234
	winNoSystemResources   = 1450
	wsaEINTR               = 10004
	wsaEACCES              = 10013
	wsaEFAULT              = 10014
	wsaEINVAL              = 10022
	wsaEMFILE              = 10024
	wsaEWOULDBLOCK         = 10035
	wsaENOTSOCK            = 10038
	wsaEDESTADDRREQ        = 10039
	wsaEMSGSIZE            = 10040
	wsaENOPROTOOPT         = 10042
	wsaEPROTONOSUPPORT     = 10043
	wsaEOPNOTSUPP          = 10045
	wsaEAFNOSUPPORT        = 10047
	wsaEADDRINUSE          = 10048
	wsaEADDRNOTAVAIL       = 10049
	wsaENETDOWN            = 10050
	wsaENETUNREACH         = 10051
	wsaENETRESET           = 10052
	wsaECONNABORTED        = 10053
	wsaECONNRESET          = 10054
	wsaENOBUFS             = 10055
	wsaEISCONN             = 10056
	wsaENOTCONN            = 10057
	wsaESHUTDOWN           = 10058
	wsaETIMEDOUT           = 10060
	wsaECONNREFUSED        = 10061
	wsaEHOSTDOWN           = 10064
	wsaEHOSTUNREACH        = 10065
)

// classifyWinsock is Classify for Windows' own numbers.
func classifyWinsock(errno uintptr) Class {
	switch errno {
	case wsaECONNRESET, wsaECONNREFUSED, winPortUnreachable, winProtocolUnreachable:
		return Report
	case wsaENETRESET, wsaEHOSTUNREACH, wsaEHOSTDOWN, wsaENETUNREACH, wsaEACCES,
		winHostUnreachable, winNetworkUnreachable, winAccessDenied:
		return Unreachable // WSAENETRESET is a TTL that ran out (recvfrom, Return value)
	case wsaEMSGSIZE, winMoreData:
		return TooLarge
	case wsaENOBUFS, winNoSystemResources, winNotEnoughMemory:
		return NoBuffers
	case wsaEWOULDBLOCK, wsaEINTR:
		return Again
	case wsaENOTCONN, wsaEDESTADDRREQ:
		return NoPeer
	case wsaENETDOWN, wsaEADDRNOTAVAIL, wsaEAFNOSUPPORT:
		return Down
	case wsaENOTSOCK, winInvalidHandle:
		return Closed
	}
	return Other
}
