package sys

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// With SIO_UDP_CONNRESET on, which it is on connected sockets, a read of Windows
// ends with 10054 after a port unreachable and with 10052 after a time exceeded,
// or with what a completion port has for them. Neither must end a reader.
func TestWindowsErrorsAreSorted(t *testing.T) {
	for name, test := range map[string]struct {
		errno uintptr
		want  Class
	}{
		"WSAECONNRESET: port unreachable":      {10054, Report},
		"WSAECONNREFUSED":                      {10061, Report},
		"ERROR_PORT_UNREACHABLE":               {1234, Report},
		"ERROR_PROTOCOL_UNREACHABLE":           {1233, Report},
		"WSAENETRESET: time exceeded":          {10052, Unreachable},
		"WSAENETUNREACH":                       {10051, Unreachable},
		"WSAEHOSTUNREACH":                      {10065, Unreachable},
		"ERROR_NETWORK_UNREACHABLE":            {1231, Unreachable},
		"ERROR_HOST_UNREACHABLE":               {1232, Unreachable},
		"WSAEACCES: broadcast":                 {10013, Unreachable},
		"WSAEMSGSIZE":                          {10040, TooLarge},
		"ERROR_MORE_DATA":                      {234, TooLarge},
		"WSAENOBUFS":                           {10055, NoBuffers},
		"ERROR_NO_SYSTEM_RESOURCES":            {1450, NoBuffers},
		"ERROR_NOT_ENOUGH_MEMORY":              {8, NoBuffers},
		"ERROR_ACCESS_DENIED":                  {5, Unreachable},
		"WSAEHOSTDOWN":                         {10064, Unreachable},
		"WSAEWOULDBLOCK":                       {10035, Again},
		"WSAEINTR":                             {10004, Again},
		"WSAENOTCONN":                          {10057, NoPeer},
		"WSAEDESTADDRREQ":                      {10039, NoPeer},
		"WSAENETDOWN":                          {10050, Down},
		"WSAEADDRNOTAVAIL":                     {10049, Down},
		"WSAEAFNOSUPPORT":                      {10047, Down},
		"WSAENOTSOCK":                          {10038, Closed},
		"ERROR_INVALID_HANDLE":                 {6, Closed},
		"WSAEINVAL, of which nothing is known": {10022, Other},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, classifyWinsock(test.errno)) })
	}
}
