package multicast_test

import (
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// burst is how many datagrams the benchmarks send at once. The default receive buffers hold
// them.
const burst = 64

// gauge is a Handler that reports when it has received a burst.
type gauge struct {
	udp.BaseHandler
	n    int
	full chan struct{}
}

func (g *gauge) Received(*udp.Conn, udp.Datagram) {
	if g.n++; g.n%burst == 0 {
		g.full <- struct{}{}
	}
}

// BenchmarkAThousandGroups compares overflow sockets, for more IPv4 groups than Linux lets a
// socket join, with a single socket and a raised net.ipv4.igmp_max_memberships. The results
// are in docs/multicast.md.
func BenchmarkAThousandGroups(b *testing.B) {
	const n = 1000
	groups, foreignGroups := manyGroups(false, n), manyGroups(false, n+burst)[n:]
	for _, way := range []struct {
		name  string
		limit int
	}{{"overflow sockets", 0}, {"sysctl raised", n}} {
		place := func(b *testing.B) *netns.NS {
			ns := lan(b)
			if way.limit == 0 {
				return ns
			}
			var err error
			ns.Do(func() {
				err = os.WriteFile("/proc/sys/net/ipv4/igmp_max_memberships", []byte(strconv.Itoa(way.limit)), 0)
			})
			if err != nil {
				b.Skip(err)
			}
			return ns
		}
		listen := func(b *testing.B, ns *netns.NS, h udp.Handler, groups ...netip.Addr) (m *udp.MulticastConn) {
			var err error
			ns.Do(func() { m, err = udp.ListenMulticast(b.Context(), "udp4", ":0", h, groups...) })
			require.NoError(b, err)
			sockettest.CloseAtEnd(b, m)
			return m
		}
		b.Run(way.name+"/join", func(b *testing.B) {
			ns := place(b)
			m := listen(b, ns, udp.BaseHandler{})
			// A veth has no multicast filter that takes time to set, unlike a network card.
			for b.Loop() {
				for _, g := range groups {
					if err := m.Join(g); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				for _, g := range groups {
					require.NoError(b, m.Leave(g))
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "joins/s")
		})
		b.Run(way.name+"/leave", func(b *testing.B) {
			ns := place(b)
			m := listen(b, ns, udp.BaseHandler{})
			for b.Loop() {
				b.StopTimer()
				for _, g := range groups {
					require.NoError(b, m.Join(g))
				}
				b.StartTimer()
				for _, g := range groups {
					if err := m.Leave(g); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "leaves/s")
		})
		b.Run(way.name+"/hold", func(b *testing.B) {
			ns := place(b)
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				files := openFiles(b)
				m := listen(b, ns, udp.BaseHandler{}, groups...)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(openFiles(b)-files), "files")
				b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "heap-B")
				sockettest.Finish(b, m)
			}
		})
		for _, foreign := range []bool{false, true} {
			name := "/receive"
			if foreign {
				name += ", as many to groups of other sockets"
			}
			b.Run(way.name+name, func(b *testing.B) {
				ns := place(b)
				g := &gauge{full: make(chan struct{}, burst)}
				m := listen(b, ns, g, groups...)
				sender := listen(b, ns, udp.BaseHandler{})
				require.NoError(b, sender.SetMulticastInterface(ns.Interface("eth")))
				to := m.LocalAddrPort().Port()
				var own, others []udp.Message
				for i := range burst {
					own = append(own, udp.Message{Data: make([]byte, 64), To: netip.AddrPortFrom(groups[i*n/burst], to)})
					others = append(others, udp.Message{Data: make([]byte, 64), To: netip.AddrPortFrom(foreignGroups[i], to)})
				}
				if foreign {
					listen(b, ns, udp.BaseHandler{}, foreignGroups...)
				}
				for b.Loop() {
					if foreign {
						if _, err := sender.SendBatch(others); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := sender.SendBatch(own); err != nil {
						b.Fatal(err)
					}
					<-g.full
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/burst, "ns/datagram")
			})
		}
	}
}
