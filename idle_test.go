package udp_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/sockettest"
)

// A socket that waits for datagrams holds no buffer of 64 KiB meanwhile, also after an
// empty one.
func TestIdleSocketsHoldNoBuffer(t *testing.T) {
	before := buffer.Live()
	for _, network := range sockettest.Networks(t) {
		for _, payload := range []string{"datagram", ""} {
			h := sockettest.NewRecorder()
			c := sockettest.Listen(t, udp.Config{}, network, h)
			h.Next(t, "Started")
			require.NoError(t, c.SendTo([]byte(payload), c.LocalAddrPort()))
			require.Equal(t, payload, h.Next(t, "Received").Data)
		}
	}
	for end := time.Now().Add(sockettest.Patience); buffer.Live() > before && time.Now().Before(end); {
		runtime.Gosched()
	}
	require.LessOrEqual(t, buffer.Live(), before)
}
