package send_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/send"
)

// Whoever waits for a Turn does not stop the clock of a bubble.
func TestTheClockAdvancesWhileATurnIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn send.Turn
		turn.Lock()
		require.False(t, turn.TryLock())
		order := make(chan int, 2)
		for i := range 2 {
			go func() {
				turn.Lock()
				defer turn.Unlock()
				order <- i
			}()
		}
		time.Sleep(time.Hour)
		require.Empty(t, order)
		turn.Unlock()
		<-order
		<-order
		synctest.Wait()
		require.True(t, turn.TryLock(), "nobody has it")
	})
}
