//go:build race

package udp

import (
	"fmt"
	"time"
)

// verify panics if the counters of a stopped socket do not agree. Built with the race
// detector only, it makes every test a test of the accounting. Another socket's
// reader may just be evicting a datagram of this one from a shared Queue, so the
// counters have a moment to settle.
func (k *counters) verify(c *Conn) {
	var received, handled, dropped int64
	for range 1000 {
		received, handled, dropped = int64(k.received.Load()), k.handled.Load(), 0
		for i := range k.dropped {
			dropped += int64(k.dropped[i].Load())
		}
		if received == handled+dropped {
			return
		}
		time.Sleep(time.Millisecond)
	}
	panic(fmt.Sprintf("udp: counters of %v disagree: received %d, handled %d, dropped %d", c, received, handled, dropped))
}
