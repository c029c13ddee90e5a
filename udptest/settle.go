package udptest

import (
	"fmt"
	"testing/synctest"
	"time"
)

const (
	// settleLimit is the virtual time after which Settle gives up.
	settleLimit = time.Hour

	// noticeTime is more than a socket takes to notice a change of an interface: package udp
	// waits up to 300 ms to combine changes.
	noticeTime = time.Second
)

// Settle waits until no datagram is in flight and all other goroutines of the bubble are blocked.
// Then every socket has read its receive buffer, and every callback has returned or waits for
// something. After a change of an interface Settle waits for a second, so that the sockets have
// noticed it. It does not wait for other timers. It must be called in a bubble of
// [testing/synctest]; outside it panics, like [synctest.Wait].
//
// The test fails if datagrams are still in flight after an hour, for example because programs
// send them at intervals shorter than the latency.
func (n *Net) Settle() {
	n.t.Helper()
	for end := n.now() + settleLimit; ; {
		synctest.Wait()
		next, pending := n.nextEvent(n.now())
		if !pending {
			return
		}
		if n.now() > end {
			n.fail(fmt.Errorf("udptest: datagrams are still in flight after %v", settleLimit))
		}
		time.Sleep(max(next-n.now(), 1))
	}
}

// nextEvent returns when the next packet moves, or when the sockets have noticed the last
// change of an interface, if anything is pending.
func (n *Net) nextEvent(now time.Duration) (at time.Duration, pending bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.events.heap) > 0 {
		return n.events.heap[0].at, true
	}
	return n.noticed, now < n.noticed
}
