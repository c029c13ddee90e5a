package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/udptest"
)

// TestManyRequestsOverABadLink has 1,000 requests outstanding at any time, on links that lose a
// fifth and double a twentieth, while another host forges a response to each.
func TestManyRequestsOverABadLink(t *testing.T) {
	const outstanding = 1000
	total := uint32(20_000)
	if raceEnabled {
		total = 4000
	}
	bubble(t, func(t *testing.T, l lan) {
		forger := serve(t, l.b, func(*udp.Conn, udp.Datagram) {})
		serve(t, l.a, func(_ *udp.Conn, d udp.Datagram) {
			forger.SendTo(append(d.Data[:4:4], "forged"...), d.From)
			echo(nil, d)
		})
		bad := udptest.Faults{Loss: 0.2, Duplicate: 0.05, Latency: 20 * time.Millisecond, Jitter: 5 * time.Millisecond}
		l.client.In().Set(bad)
		l.client.Out().Set(bad)
		addrA, addrB := l.a.Addr(), l.b.Addr()
		var fromServer, fromForger atomic.Uint64
		defer l.client.In().TapArrivals(func(f udptest.Frame) {
			switch netip.AddrFrom4([4]byte(f.IP[12:16])) {
			case addrA:
				fromServer.Add(1)
			case addrB:
				fromForger.Add(1)
			}
		})()
		c := l.newClient(t, exchange.Config[uint32]{RetransmitRate: 1e6, RetransmitBurst: 1e6})

		var next atomic.Uint32
		var wg sync.WaitGroup
		var succeeded, failed atomic.Uint64
		for range outstanding {
			wg.Go(func() {
				for i := next.Add(1); i <= total; i = next.Add(1) {
					text := fmt.Sprintf("request %d", i)
					d, err := c.Do(context.Background(), serverA, message(i, text))
					switch {
					case err == nil && textOf(d) == text+"!":
						succeeded.Add(1)
					case errors.Is(err, os.ErrDeadlineExceeded):
						failed.Add(1)
					default:
						t.Errorf("request %d: %q, %v", i, d.Data, err)
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second) // late responses
		settle()
		s := c.Stats()
		t.Logf("%+v", s)
		requireAgreement(t, s)
		require.EqualValues(t, total, succeeded.Load()+failed.Load())
		require.Equal(t, succeeded.Load(), s.Succeeded)
		require.Equal(t, failed.Load(), s.TimedOut)
		require.Greater(t, s.Succeeded, uint64(total*95/100)) // 1.7% fail all four times
		require.Equal(t, fromServer.Load(), s.Succeeded+s.Late)
		require.Equal(t, fromForger.Load(), s.Spoofed)
		require.NotZero(t, s.Late)
		require.Zero(t, s.Unknown+s.Malformed)
		require.Equal(t, s.Sent, s.Requests+s.Retransmitted)
	})
}

// TestFailoverOnTheKernel has a server that nobody listens on, and one that works.
func TestFailoverOnTheKernel(t *testing.T) {
	server, err := udp.Listen(t.Context(), "udp", "127.0.0.1:0", udp.HandlerFunc(echo))
	require.NoError(t, err)
	defer end(server)
	dead, err := udp.Listen(t.Context(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	end(dead)
	for _, each := range []bool{false, true} {
		c := newClient(t, exchange.Config[uint32]{SocketPerRequest: each})
		if info := (udp.Config{PeerErrors: true}); !each {
			probe, err := info.Listen(t.Context(), "udp", "127.0.0.1:0", udp.BaseHandler{})
			if errors.Is(err, errors.ErrUnsupported) {
				t.Log("a shared socket hears of no ICMP errors: ", err)
				continue
			}
			require.NoError(t, err)
			end(probe)
		}
		best := time.Hour // of a few, since the machine may be busy
		for i := range uint32(20) {
			begin := time.Now()
			require.ErrorIs(t, fail(t, c, dead.LocalAddrPort().String(), i), syscall.ECONNREFUSED)
			require.Equal(t, "x!", do(t, c, server.LocalAddrPort().String(), i, "x"))
			best = min(best, time.Since(begin))
		}
		t.Logf("failover, SocketPerRequest %v: %v", each, best)
		require.Less(t, best, 500*time.Millisecond, "the wait of a first attempt is a second")
		requireAgreement(t, c.Stats())
	}
}

func BenchmarkDo(b *testing.B) {
	server, err := udp.Listen(b.Context(), "udp", "127.0.0.1:0", udp.HandlerFunc(echo))
	require.NoError(b, err)
	defer end(server)
	address := server.LocalAddrPort().String()
	for _, each := range []bool{false, true} {
		for _, outstanding := range []int{1, 64, 1000} {
			b.Run(fmt.Sprintf("perRequest=%v/outstanding=%d", each, outstanding), func(b *testing.B) {
				c := newClient(b, exchange.Config[uint32]{SocketPerRequest: each})
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ReportAllocs()
				b.ResetTimer()
				for range outstanding {
					wg.Go(func() {
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							if _, err := c.Do(context.Background(), address, message(uint32(i), "x")); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
