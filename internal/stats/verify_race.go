//go:build race

package stats

import (
	"fmt"
	"time"
)

// Verify panics if the counters of a stopped socket do not agree. It is built with the
// race detector only, and makes every test a test of the accounting. It waits a moment
// for the counters to agree, because another socket's reader may be evicting a datagram
// of this one from a shared Queue.
func (k *Counters) Verify(sock fmt.Stringer) {
	var received, handled, dropped int64
	for range 1000 {
		received, handled, dropped = int64(k.Received.Load()), k.Handled.Load(), 0
		for i := range k.Dropped {
			dropped += int64(k.Dropped[i].Load())
		}
		if received == handled+dropped {
			return
		}
		time.Sleep(time.Millisecond)
	}
	panic(fmt.Sprintf("udp: counters of %v disagree: received %d, handled %d, dropped %d", sock, received, handled, dropped))
}
