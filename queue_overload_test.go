package udp_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
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
				s := sockettest.NewScripted()
				c := s.Listen(t, udp.Config{}, q)
				for i := range 5 {
					s.Arrive(strconv.Itoa(2*i), strconv.Itoa(2*i+1))
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
				sockettest.CountersAgree(t, st)
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
		a, b := sockettest.NewScripted(), sockettest.NewScripted()
		first, second := a.Listen(t, udp.Config{}, q), b.Listen(t, udp.Config{}, q)
		a.Arrive("a1", "a2", "a3")
		synctest.Wait()
		b.Arrive("b1", "b2", "b3", "b4", "b5")
		synctest.Wait()
		sockettest.Stop(t, first)
		sockettest.Stop(t, second)
		sockettest.CountersAgree(t, first.Stats())
		sockettest.CountersAgree(t, second.Stats())
		require.Equal(t, udp.Drops{Queue: 3}, first.Stats().Dropped)
		require.Equal(t, udp.Drops{Queue: 1}, second.Stats().Dropped)
		require.EqualValues(t, 0, first.Stats().Handled)
		require.EqualValues(t, 4, second.Stats().Handled)
	})
}

// Datagrams that wait hold little more than their own length, though each was
// read into 64 KiB.
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
					gate, open := sockettest.NewGate()
					defer open()
					var waited []udp.Datagram
					handled := 0
					handle := func(d udp.Datagram) {
						for _, b := range d.Data {
							if b != byte(len(d.Data)) {
								t.Error("a datagram was not moved whole")
								break
							}
						}
						if handled++; len(waited) < capacity { // with Block, those that follow found room
							d.Retain()
							waited = append(waited, d)
						}
					}
					q := udp.NewQueue(capacity, overflow)
					var h udp.Handler = q
					if workers {
						h = sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Capacity: capacity, Overflow: overflow,
							Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { <-gate; handle(d) })})
					}
					s := sockettest.NewScripted()
					c := s.Listen(t, udp.Config{}, h)
					for i := range flood {
						n := size[i%len(size)]
						b := buffer.Get()
						for j := range n {
							b.B[j] = byte(n)
						}
						s.Inputs <- []socket.Packet{{Data: b.B[:n], Buf: b, From: sockettest.There}}
						if i%100 == 0 {
							synctest.Wait() // so that the flood itself takes little memory
							if overflow == udp.Block && i >= capacity {
								break
							}
						}
					}
					synctest.Wait()
					open()
					go c.Shutdown(context.Background())
					if !workers {
						for d := range q.Datagrams() {
							handle(d)
							d.Release()
						}
					}
					<-c.Done()
					require.Equal(t, capacity, len(waited))
					// A sixth each of 2 KiB (four), 16 KiB (two), and 64 whole buffers with that
					// in the worker; nothing near 1,000 times 64 KiB.
					require.LessOrEqual(t, udp.BufferBytes(waited), capacity/6*(4*2+2*16)<<10+65*buffer.Size)
					for _, d := range waited {
						d.Release()
					}
					require.EqualValues(t, c.Stats().Handled, handled)
					sockettest.CountersAgree(t, c.Stats())
				})
			})
		}
	}
}

// The kernel's own flood, while a consumer sleeps and a sender doesn't: what waits holds
// no more than Queue's documentation says, for each policy.
func TestAFloodWithASleepingConsumerTakesLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, overflow := range []udp.Overflow{udp.Block, udp.DropNewest, udp.DropOldest} {
		t.Run(overflow.String(), func(t *testing.T) {
			const capacity, payload, least = 1000, 1200, 40_000
			q := udp.NewQueue(capacity, overflow)
			c := sockettest.Listen(t, udp.Config{}, "udp4", q)
			sender := sockettest.Dial(t, c.LocalAddrPort(), udp.BaseHandler{})
			b := make([]byte, payload)
			// On one core the reader may get to run so seldom that the kernel drops nearly
			// all of it.
			for sent := 0; sent < least || c.Stats().QueuePeak < capacity; sent++ {
				require.NoError(t, sender.Send(b))
			}
			ended := make(chan error, 1)
			go func() { ended <- c.Shutdown(context.Background()) }()
			if overflow != udp.Block {
				require.NoError(t, sockettest.Next(t, ended)) // so that what is taken below makes no room
			}
			var waited []udp.Datagram
			got := uint64(0)
			for d := range q.Datagrams() {
				if got++; got <= capacity {
					waited = append(waited, d)
				} else {
					d.Release()
				}
			}
			if overflow == udp.Block {
				require.NoError(t, sockettest.Next(t, ended))
			}
			require.Equal(t, capacity, len(waited))
			require.LessOrEqual(t, udp.BufferBytes(waited), 64*buffer.Size+capacity*buffer.Short)
			for _, d := range waited {
				d.Release()
			}
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

// A socket that waits for datagrams holds no buffer of 64 KiB meanwhile, also after an
// empty one.
func TestIdleSocketsHoldNoBuffer(t *testing.T) {
	before := buffer.Live()
	for _, network := range sockettest.Networks(t) {
		for _, payload := range []string{"datagram", ""} {
			h := sockettest.NewRecorder()
			c := sockettest.Listen(t, udp.Config{}, network, h)
			h.Next(t, "Started")
			require.NoError(t, c.SendTo([]byte(payload), c.LocalAddrPort()))
			require.Equal(t, payload, h.Next(t, "Received").Data)
		}
	}
	for end := time.Now().Add(sockettest.Patience); buffer.Live() > before && time.Now().Before(end); {
		runtime.Gosched()
	}
	require.LessOrEqual(t, buffer.Live(), before)
}
