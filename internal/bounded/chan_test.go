package bounded_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/bounded"
)

func TestAFullChannelKeepsItsPolicy(t *testing.T) {
	for _, test := range []struct {
		overflow      bounded.Overflow
		last          bounded.Outcome
		kept, evicted []int
	}{
		{bounded.DropNewest, bounded.Dropped, []int{1, 2}, nil},
		{bounded.DropOldest, bounded.Accepted, []int{3, 4}, []int{1, 2}},
	} {
		var c bounded.Chan[int]
		var evicted []int
		c.Init(2, test.overflow, func(v int) { evicted = append(evicted, v) })
		require.Equal(t, bounded.Accepted, c.Put(1, nil))
		require.False(t, c.Full())
		require.Equal(t, bounded.Accepted, c.Put(2, nil))
		require.True(t, c.Full())
		require.Equal(t, test.last, c.Put(3, nil))
		require.Equal(t, test.last, c.Put(4, nil))
		c.End()
		var kept []int
		for v := range c.C {
			kept = append(kept, v)
		}
		require.Equal(t, test.kept, kept)
		require.Equal(t, test.evicted, evicted)
	}
}

// A Put that waits ends with room, when it is canceled, and with the channel.
func TestBlockWaits(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(c *bounded.Chan[int], cancel chan struct{})
		want bounded.Outcome
	}{
		"room":     {func(c *bounded.Chan[int], _ chan struct{}) { <-c.C }, bounded.Accepted},
		"canceled": {func(_ *bounded.Chan[int], cancel chan struct{}) { close(cancel) }, bounded.Canceled},
		"ended":    {func(c *bounded.Chan[int], _ chan struct{}) { c.End() }, bounded.Dropped},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c bounded.Chan[int]
				c.Init(1, bounded.Block, func(int) { t.Error("Block evicts nothing") })
				require.Equal(t, bounded.Accepted, c.Put(1, nil))
				cancel, outcome := make(chan struct{}), make(chan bounded.Outcome, 1)
				require.True(t, c.Enter())
				go func() {
					defer c.Leave()
					outcome <- c.Put(2, cancel)
				}()
				synctest.Wait()
				require.Empty(t, outcome)
				test.end(&c, cancel)
				require.Equal(t, test.want, <-outcome)
			})
		})
	}
}

func TestNobodyEntersAfterTheEnd(t *testing.T) {
	var c bounded.Chan[int]
	c.Init(1, bounded.Block, nil)
	require.True(t, c.Enter())
	c.Leave()
	c.End()
	require.False(t, c.Enter())
	_, ok := <-c.C
	require.False(t, ok)
}

// Whatever happens at the same time, each value is received, evicted or dropped, once.
func TestEachValueHasOneFate(t *testing.T) {
	const putters, each = 4, 1000
	for overflow := bounded.Block; overflow <= bounded.DropOldest; overflow++ {
		var c bounded.Chan[int]
		var evicted, rejected, received atomic.Int64
		c.Init(3, overflow, func(int) { evicted.Add(1) })
		var putting, receiving sync.WaitGroup
		for range putters {
			putting.Go(func() {
				for v := range each {
					if !c.Enter() {
						rejected.Add(1)
						continue
					}
					if c.Put(v, nil) != bounded.Accepted {
						rejected.Add(1)
					}
					c.Leave()
				}
			})
		}
		first := make(chan struct{})
		receiving.Go(func() {
			for range c.C {
				if received.Add(1) == 1 {
					close(first)
				}
			}
		})
		<-first // some are in, and others may find the end
		c.End()
		putting.Wait()
		receiving.Wait()
		require.EqualValues(t, putters*each, evicted.Load()+rejected.Load()+received.Load())
	}
}
