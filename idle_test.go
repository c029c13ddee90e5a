package udp_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
)

// A socket that waits for datagrams holds no buffer of 64 KiB meanwhile, also after an
// empty one.
func TestIdleSocketsHoldNoBuffer(t *testing.T) {
	before := buffer.Live()
	for _, network := range networks(t) {
		for _, payload := range []string{"datagram", ""} {
			h := newRecorder()
			c := listen(t, udp.Config{}, network, h)
			h.next(t, "Started")
			require.NoError(t, c.SendTo([]byte(payload), c.LocalAddrPort()))
			require.Equal(t, payload, h.next(t, "Received").data)
		}
	}
	for end := time.Now().Add(patience); buffer.Live() > before && time.Now().Before(end); {
		runtime.Gosched()
	}
	require.LessOrEqual(t, buffer.Live(), before)
}
