package udp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
)

// willing is a network where every group can be joined at no cost, so that what
// is measured is the toolkit.
type willing struct {
	*scripted
	ifs []socket.Interface
}

func newWilling(interfaces int) *willing {
	w := &willing{scripted: newScripted()}
	for i := range interfaces {
		w.ifs = append(w.ifs, socket.Interface{
			Interface: net.Interface{Index: i + 1, Name: fmt.Sprint("eth", i), Flags: net.FlagUp | net.FlagRunning | net.FlagMulticast},
			Addrs:     []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 24)},
		})
	}
	return w
}

func (w *willing) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return w, nil
}
func (w *willing) Join(netip.Addr, netip.Addr, int) error  { return nil }
func (w *willing) Leave(netip.Addr, netip.Addr, int) error { return nil }
func (w *willing) Interfaces() ([]socket.Interface, error) { return w.ifs, nil }
func (w *willing) Watch(func()) (stop func(), err error)   { return func() {}, nil }
func (w *willing) member(b testing.TB) *udp.MulticastConn {
	b.Helper()
	m, err := udp.Config{Network: w}.ListenMulticast(b.Context(), "udp4", ":0", udp.BaseHandler{})
	require.NoError(b, err)
	b.Cleanup(func() { stop(b, m) })
	return m
}

// BenchmarkReconcile brings many wishes in line with many interfaces.
func BenchmarkReconcile(b *testing.B) {
	for _, size := range []struct{ interfaces, groups int }{{1, 1000}, {1, 10_000}, {100, 100}, {100, 1000}} {
		joined := func(b *testing.B) (*willing, *udp.MulticastConn, []netip.Addr) {
			w := newWilling(size.interfaces)
			m, groups := w.member(b), manyGroups(false, size.groups)
			for _, g := range groups {
				require.NoError(b, m.Join(g))
			}
			return w, m, groups
		}
		perMembership := func(b *testing.B) {
			n := float64(b.N) * float64(size.interfaces*size.groups)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/membership")
		}
		b.Run(fmt.Sprintf("%dx%d/nothing has changed", size.interfaces, size.groups), func(b *testing.B) {
			w, m, _ := joined(b)
			for b.Loop() {
				udp.Settle(m, w.ifs)
			}
			perMembership(b)
		})
		b.Run(fmt.Sprintf("%dx%d/all are others", size.interfaces, size.groups), func(b *testing.B) {
			w, m, _ := joined(b)
			for b.Loop() {
				for i := range w.ifs {
					w.ifs[i].Generation++
				}
				udp.Settle(m, w.ifs)
			}
			perMembership(b)
		})
		b.Run(fmt.Sprintf("%dx%d/join and leave", size.interfaces, size.groups), func(b *testing.B) {
			_, m, groups := joined(b)
			for b.Loop() {
				for _, g := range groups {
					if err := m.Leave(g); err != nil {
						b.Fatal(err)
					}
				}
				for _, g := range groups {
					if err := m.Join(g); err != nil {
						b.Fatal(err)
					}
				}
			}
			perMembership(b)
		})
		b.Run(fmt.Sprintf("%dx%d/a datagram", size.interfaces, size.groups), func(b *testing.B) {
			_, m, groups := joined(b)
			source := netip.MustParseAddr("10.0.0.9")
			for b.Loop() {
				if !udp.Wants(m, groups[len(groups)/2], source, size.interfaces) {
					b.Fatal("not wanted")
				}
			}
		})
	}
}
