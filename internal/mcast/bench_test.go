package mcast

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkReconcile reconciles many memberships with many interfaces, on a socket that costs
// nothing.
func BenchmarkReconcile(b *testing.B) {
	for _, size := range []struct{ interfaces, groups int }{{1, 1000}, {1, 10_000}, {100, 100}, {100, 1000}} {
		joined := func(b *testing.B) (*fake, *Manager, []netip.Addr) {
			f := newFake(size.interfaces)
			m := f.manager(b, Config{})
			groups := make([]netip.Addr, size.groups)
			for i := range groups {
				groups[i] = netip.AddrFrom4([4]byte{239, 1, byte(i >> 8), byte(i)})
				require.NoError(b, m.Join(groups[i], netip.Addr{}, nil))
			}
			return f, m, groups
		}
		perMembership := func(b *testing.B) {
			n := float64(b.N) * float64(size.interfaces*size.groups)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/membership")
		}
		name := fmt.Sprintf("%dx%d", size.interfaces, size.groups)
		b.Run(name+"/unchanged", func(b *testing.B) {
			f, m, _ := joined(b)
			for b.Loop() {
				f.reconcile(m)
			}
			perMembership(b)
		})
		b.Run(name+"/all interfaces replaced", func(b *testing.B) {
			f, m, _ := joined(b)
			for b.Loop() {
				for i := range f.ifs {
					f.ifs[i].Generation++
				}
				f.reconcile(m)
			}
			perMembership(b)
		})
		b.Run(name+"/leave and join", func(b *testing.B) {
			_, m, groups := joined(b)
			for b.Loop() {
				for _, g := range groups {
					if err := m.Leave(g, netip.Addr{}, nil); err != nil {
						b.Fatal(err)
					}
				}
				for _, g := range groups {
					if err := m.Join(g, netip.Addr{}, nil); err != nil {
						b.Fatal(err)
					}
				}
			}
			perMembership(b)
		})
		b.Run(name+"/a datagram", func(b *testing.B) {
			_, m, groups := joined(b)
			source := netip.MustParseAddr("10.0.0.9")
			for b.Loop() {
				if !m.Wants(groups[len(groups)/2], source, size.interfaces) {
					b.Fatal("not wanted")
				}
			}
		})
	}
}
