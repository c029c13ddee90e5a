package udp_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// What waits in a full Queue takes as much memory as Queue's documentation says,
// whatever a peer sends.
func TestMemoryOfWaitingDatagrams(t *testing.T) {
	const waiting = 1000
	for size, most := range map[int]int{1: 7 << 20, 64: 7 << 20, 2048: 7 << 20, 2049: 21 << 20, 16384: 21 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			q := udp.NewQueue(waiting, udp.DropNewest)
			c := sockettest.Listen(t, udp.Config{NoOffload: true}, "udp4", q)
			s := sockettest.Dial(t, c.LocalAddrPort(), udp.BaseHandler{})
			payload := make([]byte, size)
			for c.Stats().QueuePeak < waiting {
				require.NoError(t, s.Send(payload))
			}
			sockettest.Stop(t, c)
			var waited []udp.Datagram
			for d := range q.Datagrams() {
				waited = append(waited, d)
			}
			require.Equal(t, waiting, len(waited)) // require.Len would print them
			require.Less(t, udp.BufferBytes(waited), most)
			for _, d := range waited {
				d.Release()
			}
		})
	}
}
