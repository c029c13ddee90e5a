package udp_test

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

func TestQueueOverflow(t *testing.T) {
	for _, test := range []struct {
		overflow udp.Overflow
		received []string
		dropped  uint64
	}{
		{udp.Block, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, 0},
		{udp.DropNewest, []string{"0", "1", "2"}, 7},
		{udp.DropOldest, []string{"7", "8", "9"}, 7},
	} {
		t.Run(test.overflow.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := buffer.Live()
				q := udp.NewQueue(3, test.overflow)
				s := newScripted()
				c := s.listen(t, udp.Config{}, q)
				for i := range 5 {
					s.arrive(strconv.Itoa(2*i), strconv.Itoa(2*i+1))
				}
				synctest.Wait()
				require.EqualValues(t, test.dropped, c.Stats().Dropped.Queue)
				go c.Shutdown(context.Background())
				var received []string
				for d := range q.Datagrams() {
					received = append(received, string(d.Data))
					d.Release()
				}
				require.Equal(t, test.received, received)
				<-q.Done()
				require.NoError(t, q.Err())
				st := c.Stats()
				balanced(t, st)
				require.Equal(t, udp.Drops{Queue: test.dropped}, st.Dropped)
				require.EqualValues(t, len(received), st.Handled)
				require.EqualValues(t, 3, st.QueuePeak)
				require.Equal(t, before, buffer.Live(), "no buffer is left")
			})
		})
	}
}

// A Queue of several sockets counts each datagram at the socket it came by.
func TestAQueueOfTwoSocketsChargesTheRightOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := udp.NewQueue(4, udp.DropOldest)
		a, b := newScripted(), newScripted()
		first, second := a.listen(t, udp.Config{}, q), b.listen(t, udp.Config{}, q)
		a.arrive("a1", "a2", "a3")
		synctest.Wait()
		b.arrive("b1", "b2", "b3", "b4", "b5")
		synctest.Wait()
		stop(t, first)
		stop(t, second)
		balanced(t, first.Stats())
		balanced(t, second.Stats())
		require.Equal(t, udp.Drops{Queue: 3}, first.Stats().Dropped)
		require.Equal(t, udp.Drops{Queue: 1}, second.Stats().Dropped)
		require.EqualValues(t, 0, first.Stats().Handled)
		require.EqualValues(t, 4, second.Stats().Handled)
	})
}

// Datagrams that wait hold little more than their own length, though each was
// read into 64 KiB, also those that are left of long coalesced packets.
func TestADatagramThatWaitsHoldsNoWholeBuffer(t *testing.T) {
	for _, overflow := range []udp.Overflow{udp.Block, udp.DropNewest, udp.DropOldest} {
		for _, workers := range []bool{false, true} {
			name := overflow.String()
			if workers {
				name += ", Workers"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const capacity, flood = 1000, 2500
					size := []int{0, 1, 100, 1400, 9000, 16 << 10}
					gate := make(chan struct{})
					var h udp.Handler
					var checked int
					check := func(d udp.Datagram) {
						for _, b := range d.Data {
							if b != byte(len(d.Data)) {
								t.Error("a datagram was not moved whole")
								break
							}
						}
						checked++
					}
					q := udp.NewQueue(capacity, overflow)
					h = q
					if workers {
						h = newWorkers(t, udp.WorkersConfig{N: 1, Capacity: capacity, Overflow: overflow,
							Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { <-gate; check(d) })})
					}
					s := newScripted()
					c := s.listen(t, udp.Config{}, h)
					before := heap()
					for i := range flood {
						n := size[i%len(size)]
						b := buffer.Get()
						for j := range n {
							b.B[j] = byte(n)
						}
						s.inputs <- []socket.Packet{{Data: b.B[:n], Buf: b, From: there}}
						if i%100 == 0 {
							synctest.Wait() // so that the flood itself does not take the memory
							if overflow == udp.Block && i >= capacity {
								break
							}
						}
					}
					synctest.Wait()
					held := int(heap()) - int(before)
					// The longest of those that wait: a sixth each of 2 KiB (three), 16 KiB (two),
					// and 64 whole buffers; nothing near 1,000 times 64 KiB, which is 65 MB.
					most := capacity*(4*2+2*16)/6*1024 + 64*buffer.Size + 6<<20
					if overflow == udp.Block {
						most += 100 * buffer.Size // what the script still holds
					}
					require.Less(t, held, most, "%d MB", held>>20)

					close(gate)
					go c.Shutdown(context.Background())
					if !workers {
						for d := range q.Datagrams() {
							check(d)
							d.Release()
						}
					}
					<-c.Done()
					require.EqualValues(t, c.Stats().Handled, checked)
					balanced(t, c.Stats())
				})
			})
		}
	}
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold goes in two
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The kernel's own flood: memory stays flat for each policy, while a consumer
// sleeps and a sender doesn't.
func TestAFloodWithASleepingConsumerLeavesTheHeapFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, overflow := range []udp.Overflow{udp.Block, udp.DropNewest, udp.DropOldest} {
		t.Run(overflow.String(), func(t *testing.T) {
			const capacity, payload, least = 1000, 1200, 13_333
			q := udp.NewQueue(capacity, overflow)
			c := listen(t, udp.Config{}, "udp4", q)
			sender := dial(t, c.LocalAddrPort(), udp.BaseHandler{})
			before := heap()
			flood := func() {
				b := make([]byte, payload)
				// On one core the reader may get to run so seldom that the kernel drops
				// nearly all of it.
				for sent := 0; sent < least || c.Stats().QueuePeak < capacity; sent++ {
					require.NoError(t, sender.Send(b))
				}
			}
			// What may wait takes this much, however much of the flood there is.
			const bound = 64*buffer.Size + capacity*2048 + 8<<20
			for range 3 {
				flood()
				require.Less(t, int(heap())-int(before), bound)
			}

			var consumer sync.WaitGroup
			got := uint64(0)
			consumer.Go(func() {
				for d := range q.Datagrams() {
					got++
					d.Release()
				}
			})
			require.NoError(t, c.Shutdown(t.Context()))
			consumer.Wait()
			st := c.Stats()
			require.Equal(t, st.Handled, got)
			require.Equal(t, udp.Drops{Queue: st.Dropped.Queue}, st.Dropped)
			if st.KernelDrops >= 0 {
				require.EqualValues(t, sender.Stats().Sent, st.Received+uint64(st.KernelDrops))
			}
			require.EqualValues(t, capacity, st.QueuePeak)
		})
	}
}
