package sys

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp/internal/socket"
)

// No goroutine outlives its socket.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a socket that the test closes.
func open(t *testing.T, network, addr string, o socket.Options) *Conn {
	t.Helper()
	s, err := Kernel{}.Open(context.Background(), network, netip.MustParseAddrPort(addr), o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s.(*Conn)
}
