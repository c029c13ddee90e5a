package session_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/session"
)

// BenchmarkSessions has many peers on one socket of the kernel. It reports the time to begin and
// accept a session, its memory, and the time for a datagram of an existing one.
//
// All peers are one client socket that sends from all addresses of 127.0.0.0/8. It is on the
// same machine, so its work is in the times, which are also given as processor time.
func BenchmarkSessions(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkSessions(b, n) })
	}
}

func benchmarkSessions(b *testing.B, n int) {
	cfg := session.Config{MaxSessions: n, Backlog: n, IdleTimeout: time.Hour}
	cfg.Socket.ReadBuffer = 8 << 20
	ln, err := cfg.Listen(b.Context(), "udp4", "127.0.0.1:0")
	require.NoError(b, err)
	defer end(ln.Conn())
	client, err := udp.Config{WriteBuffer: 8 << 20}.Listen(b.Context(), "udp4", "0.0.0.0:0", udp.BaseHandler{})
	require.NoError(b, err)
	defer end(client)
	to := ln.Conn().LocalAddrPort()
	payload := make([]byte, 64)
	message := func(i int) udp.Message {
		from := netip.AddrFrom4([4]byte{127, byte(1 + i>>16), byte(i >> 8), byte(i)})
		return udp.Message{Data: payload, To: to, From: from}
	}
	// send sends count datagrams in batches, up to 512 ahead of the receiver.
	send := func(count int, delivered func() uint64) {
		ms := make([]udp.Message, 0, 64)
		defer func() {
			for delivered() < uint64(count) {
				runtime.Gosched()
			}
		}()
		for i := 0; i < count; {
			ms = ms[:0]
			for ; i < count && len(ms) < 64; i++ {
				ms = append(ms, message(i%n))
			}
			if sent, err := client.SendBatch(ms); err != nil {
				if sent == 0 && i <= 64 {
					b.Skip(err) // not every system has all of 127.0.0.0/8
				}
				b.Fatal(err)
			}
			for delivered()+512 < uint64(i) {
				runtime.Gosched()
			}
		}
	}

	before := heap()
	begin := time.Now()
	var accepted atomic.Uint64
	conns := make([]*session.Conn, 0, n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			s := accept(b, ln)
			s.Read(nil) // consumes its first datagram
			conns = append(conns, s)
			accepted.Add(1)
		}
	}()
	send(n, func() uint64 { return ln.Stats().Received })
	<-done
	acceptTime := time.Since(begin)
	memory := heap() - before

	start := ln.Stats().Received
	cpu := processorTime(b)
	b.ResetTimer()
	go func() { // consumers that keep up: what waits is read
		for i := 0; i < b.N; i++ {
			if conns[i%n].SetReadDeadline(time.Time{}) != nil {
				return
			}
			if _, err := conns[i%n].Read(nil); err != nil {
				return
			}
		}
	}()
	send(b.N, func() uint64 { return ln.Stats().Received - start })
	b.StopTimer()
	b.ReportMetric(float64((processorTime(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(acceptTime.Nanoseconds())/float64(n), "ns/accept")
	if n >= 1000 { // the heap changes by more than a few sessions take
		b.ReportMetric(float64(memory)/float64(n), "B/session")
	}
	require.Zero(b, ln.Stats().BacklogFull)
}

// processorTime is what the process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
