package limit_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/limit"
	"github.com/udpkit/udp/udptest"
)

// BenchmarkSources has datagrams of so many prefixes in turn. In the last case there are a
// million, and the table has room for the default of 65,536.
func BenchmarkSources(b *testing.B) {
	for _, c := range []struct{ sources, room int }{{1000, 1_000_000}, {1_000_000, 1_000_000}, {1_000_000, 0}} {
		b.Run(fmt.Sprintf("sources=%d/room=%d", c.sources, c.room), func(b *testing.B) {
			l := newLimiter(b, limit.Config{Rate: 10, Burst: 10, MaxSources: c.room}, udp.BaseHandler{})
			ds := make([]udp.Datagram, c.sources)
			for i := range ds {
				var a [4]byte
				binary.BigEndian.PutUint32(a[:], uint32(i)<<8)
				ds[i] = udptest.Datagram(udptest.Header{From: netip.AddrPortFrom(netip.AddrFrom4(a), 53)}, []byte("query"))
			}
			before := heap()
			for _, d := range ds {
				l.Allow(d)
			}
			memory := float64(heap()-before) / float64(l.Stats().Sources)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				l.Allow(ds[i%len(ds)])
			}
			b.ReportMetric(memory, "B/source") // and as many addresses
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
