//go:build !udpbasic

package sys

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newBusyPoll has a clock that only the test moves.
func newBusyPoll() *busyPoll {
	at := time.Unix(0, 0)
	return &busyPoll{on: true, now: func() time.Time { return at }}
}

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
		b := newBusyPoll()
		empty, waited := waits(b, 130_000, never)
		require.Equal(t, 130_000, waited)
		require.Equal(t, 1000*emptyReads, empty, "one wait of 130")
	})
	t.Run("a busy one does not wait", func(t *testing.T) {
		b := newBusyPoll()
		_, waited := waits(b, 1000, soon)
		require.Equal(t, 1, waited, "the first")
	})
	t.Run("it finds out that a socket has become busy", func(t *testing.T) {
		b := newBusyPoll()
		waits(b, 1000, never)
		_, waited := waits(b, 10_000, soon)
		require.LessOrEqual(t, waited, noLuck)
	})
	t.Run("it finds out that a socket has become quiet", func(t *testing.T) {
		b := newBusyPoll()
		waits(b, 1000, soon)
		empty, _ := waits(b, 100, never)
		require.LessOrEqual(t, empty, (mostLuck/badLuck+1)*emptyReads)
	})
	t.Run("it goes on while it mostly succeeds", func(t *testing.T) {
		b := newBusyPoll()
		waits(b, 1000, soon)
		_, waited := waits(b, 10_000, func(round int) int {
			if round%5 == 0 {
				return 1 << 30
			}
			return 3
		})
		require.Equal(t, 2000, waited, "only where nothing came")
	})
	t.Run("it stops when it mostly fails", func(t *testing.T) {
		b := newBusyPoll()
		waits(b, 1000, soon)
		empty, _ := waits(b, 10_000, func(round int) int {
			if round%5 != 0 {
				return 1 << 30
			}
			return 3
		})
		require.Less(t, empty, 10_000/10*emptyReads)
	})
	t.Run("it stops when somebody else needs the processor", func(t *testing.T) {
		at := time.Unix(0, 0)
		b := &busyPoll{on: true, now: func() time.Time { return at }}
		waits(b, 1000, soon)
		for _, found := range []bool{true, false} {
			waits(b, contended+noLuck, soon)
			_, waited := waits(b, 100, soon)
			require.Zero(t, waited, "it polls again")
			require.True(t, b.again())
			at = at.Add(2 * tooLong) // it did not run
			if found {
				b.found()
			} else {
				for b.again() {
				}
			}
			_, waited = waits(b, contended, soon)
			require.Equal(t, contended, waited)
		}
	})
}

// On one processor a consumer gets it before the socket is read again.
func TestBusyPollingLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	b := newBusyPoll()
	waits(b, 1000, func(int) int { return 3 })
	var ran atomic.Bool
	go ran.Store(true)
	for range 100 {
		b.again()
	}
	require.True(t, ran.Load())
}
