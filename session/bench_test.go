package session_test

import (
	"fmt"
	"testing"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/session"
)

// BenchmarkHandler is the cost of finding a datagram's session, without a socket.
func BenchmarkHandler(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := session.Handler(session.Config{MaxSessions: n}, func(*session.Peer) udp.Handler { return udp.BaseHandler{} })
			_, c := recorded(b, m)
			ds := make([]udp.Datagram, n)
			for i := range ds {
				ds[i] = from(i, "x")
				m.Received(c, ds[i])
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				m.Received(c, ds[i%n])
			}
		})
	}
}
