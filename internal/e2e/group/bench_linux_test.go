package group_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
)

// BenchmarkMembers measures groups of one and two sockets whose Handler keeps its processor busy
// for some time with each datagram. Two goroutines of the same process send batches of one flow
// each, and no more than the sockets have room for. The work is a number of steps rather than a
// time, so it takes longer while other programs use the processors. CPU time is that of the whole
// process, senders included.
func BenchmarkMembers(b *testing.B) {
	for _, work := range []time.Duration{0, 2 * time.Microsecond, 20 * time.Microsecond} {
		for _, n := range []int{1, 2} {
			b.Run(fmt.Sprintf("work=%v/sockets=%d", work, n), func(b *testing.B) { measure(b, n, work) })
		}
	}
}

func measure(b *testing.B, n int, work time.Duration) {
	const (
		senders = 2
		peers   = 32 // of each sender
		batch   = 32
		room    = 64 // batches without an acknowledgement, of each sender
	)
	steps := int(work.Seconds() * stepsPerSecond())
	var handled atomic.Int64
	tokens := make(chan struct{}, senders*room)
	g, err := udp.Config{ReadBuffer: 8 << 20}.ListenGroup(b.Context(), n, "udp4", "127.0.0.1:0", func(int) udp.Handler {
		return udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
			busy(steps)
			if handled.Add(1)%batch == 0 {
				tokens <- struct{}{}
			}
		})
	})
	require.NoError(b, err)
	require.Len(b, g.Conns(), members(g, n))
	var conns [senders][peers]*udp.Conn
	for s := range conns {
		for p := range conns[s] {
			c, err := udp.Config{}.Listen(b.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
			require.NoError(b, err)
			conns[s][p] = c
		}
	}
	for range senders * room {
		tokens <- struct{}{}
	}
	batches := (b.N + batch - 1) / batch
	var sending sync.WaitGroup
	var next atomic.Int64
	used := processorTime(b)
	b.ResetTimer()
	for s := range conns {
		sending.Go(func() {
			ms := make([]udp.Message, batch)
			for i := range ms {
				ms[i] = udp.Message{Data: make([]byte, 64), To: g.LocalAddrPort()}
			}
			for i := next.Add(1); i <= int64(batches); i = next.Add(1) {
				<-tokens
				if sent, err := conns[s][i%peers].SendBatch(ms); err != nil {
					b.Errorf("%d sent: %v", sent, err)
					return
				}
			}
		})
	}
	sending.Wait()
	for handled.Load() < int64(batches*batch) {
		<-tokens
	}
	b.StopTimer()
	used = processorTime(b) - used
	b.ReportMetric(float64(used.Nanoseconds())/float64(batches*batch), "cpu-ns/op")
	b.ReportMetric(float64(batches*batch)/b.Elapsed().Seconds(), "datagrams/s")
	b.ReportMetric(g.Stats().Skew(), "skew")
	for s := range conns {
		for _, c := range conns[s] {
			c.Close()
			<-c.Done()
		}
	}
	require.NoError(b, g.Close())
	<-g.Done()
}

var sink atomic.Uint64

// busy keeps a processor busy.
func busy(steps int) {
	x := uint64(steps)
	for range steps {
		x = x*6364136223846793005 + 1442695040888963407
	}
	if x == 0 { // so that it is used
		sink.Add(1)
	}
}

// stepsPerSecond is how many steps of busy an otherwise idle processor makes: the maximum of
// many short attempts.
var stepsPerSecond = sync.OnceValue(func() (most float64) {
	const steps = 10000
	for range 2000 {
		began := time.Now()
		busy(steps)
		most = max(most, steps/time.Since(began).Seconds())
	}
	return most
})

func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
