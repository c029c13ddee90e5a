//go:build !udpbasic

package sys

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// waits goes through n rounds of finding nothing until the reader waits or
// something has come after so many empty reads; it returns how many reads were
// empty in all, and how often it waited.
func waits(b *busyPoll, n int, comesAfter func(round int) int) (empty, waited int) {
	for i := range n {
		for after := comesAfter(i); ; after-- {
			if after == 0 {
				b.found()
				break
			}
			if !b.again() {
				waited++
				break
			}
			empty++
		}
	}
	return empty, waited
}

func TestBusyPollingPaysOrStops(t *testing.T) {
	never := func(int) int { return 1 << 30 }
	soon := func(int) int { return 3 }
	t.Run("a quiet socket seldom tries", func(t *testing.T) {
		var b busyPoll
		empty, waited := waits(&b, 130_000, never)
		require.Equal(t, 130_000, waited)
		require.Equal(t, 1000*emptyReads, empty, "one wait of 130")
	})
	t.Run("a busy one does not wait", func(t *testing.T) {
		var b busyPoll
		_, waited := waits(&b, 1000, soon)
		require.Equal(t, 1, waited, "the first")
	})
	t.Run("it finds out that a socket has become busy", func(t *testing.T) {
		var b busyPoll
		waits(&b, 1000, never)
		_, waited := waits(&b, 10_000, soon)
		require.LessOrEqual(t, waited, noLuck)
	})
	t.Run("it finds out that a socket has become quiet", func(t *testing.T) {
		var b busyPoll
		waits(&b, 1000, soon)
		empty, _ := waits(&b, 100, never)
		require.LessOrEqual(t, empty, (mostLuck/badLuck+1)*emptyReads)
	})
	t.Run("it goes on while it mostly succeeds", func(t *testing.T) {
		var b busyPoll
		waits(&b, 1000, soon)
		_, waited := waits(&b, 10_000, func(round int) int {
			if round%5 == 0 {
				return 1 << 30
			}
			return 3
		})
		require.Equal(t, 2000, waited, "only where nothing came")
	})
	t.Run("it stops when it mostly fails", func(t *testing.T) {
		var b busyPoll
		waits(&b, 1000, soon)
		empty, _ := waits(&b, 10_000, func(round int) int {
			if round%5 != 0 {
				return 1 << 30
			}
			return 3
		})
		require.Less(t, empty, 10_000/10*emptyReads)
	})
}
