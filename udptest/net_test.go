package udptest_test

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// echo replies with the payload.
var echo = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply(d.Data) })

// on is short for Host.Config.
func on(h *udptest.Host) udp.Config { return h.Config() }

// listen opens a socket until the test ends.
func listen(t *testing.T, cfg udp.Config, network, address string, h udp.Handler) *udp.Conn {
	t.Helper()
	c, err := cfg.Listen(ctx, network, address, h)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// fields returns the exported fields of a Refusal.
func fields(r *udp.Refusal) udp.Refusal {
	return udp.Refusal{
		Peer: r.Peer, Offender: r.Offender, Type: r.Type, Code: r.Code, MTU: r.MTU, Payload: r.Payload, Err: r.Err,
	}
}

// closed closes a socket and waits until its port is free.
func closed(t *testing.T, c interface {
	Close() error
	Done() <-chan struct{}
}) {
	t.Helper()
	require.NoError(t, c.Close())
	<-c.Done()
}

func dial(t *testing.T, cfg udp.Config, network, address string, h udp.Handler) *udp.ConnectedConn {
	t.Helper()
	c, err := cfg.Dial(ctx, network, address, h)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestEchoTakesARoundTripOfVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Faults: udptest.Faults{Latency: 30 * time.Minute}})
		a, b := n.Host("a", "10.0.0.1", "fd00::1"), n.Host("b", "10.0.0.2", "fd00::2")
		listen(t, on(b), "udp", ":53", echo)
		for _, address := range []string{"10.0.0.2:53", "[fd00::2]:53", "b:53"} {
			q := udp.NewQueue(1, udp.Block)
			c := dial(t, on(a), "udp", address, q)
			began := time.Now()
			require.NoError(t, c.Send([]byte("hello")))
			d := <-q.Datagrams()
			require.Equal(t, "hello", string(d.Data))
			require.Equal(t, 2*time.Hour+2*link, time.Since(began))
			require.Equal(t, c.RemoteAddrPort(), d.From)
			require.Equal(t, c.LocalAddrPort().Addr(), d.To().Addr())
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1/24", "fd00::1/64"), n.Host("b", "10.0.0.2/24", "fd00::2/64")
		peer := netip.MustParseAddr
		prohibit := func(p udptest.Packet) udptest.Action {
			if p.To.Port() == 99 {
				return udptest.Prohibit
			}
			return udptest.Accept
		}
		b.SetFilter(prohibit)
		tests := map[string]struct {
			to   string
			want udp.Refusal
			took time.Duration
		}{
			"nobody listens on the port": {"10.0.0.2:9", udp.Refusal{Offender: peer("10.0.0.2"), Type: 3, Code: 3, Err: syscall.ECONNREFUSED}, 2 * link},
			"nobody listens, IPv6":       {"[fd00::2]:9", udp.Refusal{Offender: peer("fd00::2"), Type: 1, Code: 4, Err: syscall.ECONNREFUSED}, 2 * link},
			"there is no such host":      {"10.0.0.3:9", udp.Refusal{Offender: peer("10.0.0.1"), Type: 3, Code: 1, Err: syscall.EHOSTUNREACH}, 3*time.Second + 2*link},
			"no such host, IPv6":         {"[fd00::3]:9", udp.Refusal{Offender: peer("fd00::1"), Type: 1, Code: 3, Err: syscall.EHOSTUNREACH}, 3*time.Second + 2*link},
			"a firewall says no":         {"10.0.0.2:99", udp.Refusal{Offender: peer("10.0.0.2"), Type: 3, Code: 13, Err: syscall.EHOSTUNREACH}, 2 * link},
			"a firewall says no, IPv6":   {"[fd00::2]:99", udp.Refusal{Offender: peer("fd00::2"), Type: 1, Code: 1, Err: syscall.EACCES}, 2 * link},
		}
		for name, tt := range tests {
			for _, kind := range []string{"connected", "unconnected"} {
				q := udp.NewQueue(1, udp.Block)
				cfg := on(a)
				to := netip.MustParseAddrPort(tt.to)
				began := time.Now()
				if kind == "connected" {
					require.NoError(t, dial(t, cfg, "udp", tt.to, q).Send([]byte("sent")), name)
				} else {
					cfg.PeerErrors = true
					require.NoError(t, listen(t, cfg, "udp", ":0", q).SendTo([]byte("sent"), to), name)
				}
				r := <-q.Refusals()
				require.Equal(t, tt.took, time.Since(began), name)
				tt.want.Peer, tt.want.Payload = to, []byte("sent")
				require.Equal(t, tt.want, fields(r), "%s, %s", name, kind)
				require.ErrorIs(t, r, udp.ErrRefused)
				time.Sleep(time.Minute) // for the limit of ICMP
			}
		}
		// Without PeerErrors an unconnected socket hears nothing.
		q := udp.NewQueue(1, udp.Block)
		require.NoError(t, listen(t, on(a), "udp", ":0", q).SendTo(nil, netip.MustParseAddrPort("10.0.0.2:9")))
		synctest.Wait()
		time.Sleep(time.Second)
		require.Empty(t, q.Refusals())
	})
}

func TestHostsLookForNeighborsAsLinuxDoes(t *testing.T) {
	for _, address := range []string{"10.0.0.9", "fd00::9"} {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.NewNet(t, udptest.Config{})
			a := n.Host("a", "10.0.0.1/24", "fd00::1/64")
			began := time.Now()
			got := make(chan string, 10)
			peer := netip.AddrPortFrom(netip.MustParseAddr(address), 7)
			send := func(name string) {
				q := udp.NewQueue(1, udp.Block)
				require.NoError(t, dial(t, on(a), "udp", peer.String(), q).Send([]byte(name)))
				go func() {
					if r, open := <-q.Refusals(); open {
						assert.ErrorIs(t, r, syscall.EHOSTUNREACH)
						got <- fmt.Sprintf("%s refused at %v", name, time.Since(began).Truncate(time.Millisecond))
					}
				}()
			}
			send("one")
			time.Sleep(2 * time.Second)
			send("two") // waits for the answer to the same question
			require.ElementsMatch(t, []string{"one refused at 3s", "two refused at 3s"}, []string{<-got, <-got})
			send("three") // is not refused at once: Linux looks again
			require.Equal(t, "three refused at 6s", <-got)

			send("four")
			time.Sleep(1500 * time.Millisecond)
			late := n.Host("late", address)
			listen(t, on(late), "udp", ":7", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				got <- fmt.Sprintf("%s arrived at %v", d.Data, time.Since(began).Truncate(time.Millisecond))
			}))
			require.Equal(t, "four arrived at 8s", <-got)
			late.Interface("eth0").Remove()

			send("five")
			settle()
			a.Crash() // what waits is gone with it
			a.Restart()
			n.Host("other", address)
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Empty(t, got)
			require.Contains(t, n.Trace(), "a eth0 out       gone")
		})
	}
}

func TestRefusalsAreRateLimitedAsKernelsDoIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, _ := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		c := dial(t, on(a), "udp", "10.0.0.2:9", udp.BaseHandler{})
		send := func(times int) uint64 {
			before := c.Stats().Refused
			for range times {
				require.NoError(t, c.Send(nil))
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			return c.Stats().Refused - before
		}
		require.Equal(t, uint64(6), send(100), "six at once")
		time.Sleep(time.Second)
		require.Equal(t, uint64(1), send(100), "then one a second")
		time.Sleep(time.Hour)
		require.Equal(t, uint64(6), send(100), "and not more after a rest")
		local := dial(t, on(a), "udp", "10.0.0.1:9", udp.BaseHandler{})
		for range 100 {
			require.NoError(t, local.Send(nil))
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Equal(t, uint64(100), local.Stats().Refused, "what stays on the host is not limited")
	})
}

func TestErrorsAreTheKernels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a := n.Host("a", "10.0.0.1/24")
		c := listen(t, on(a), "udp4", "10.0.0.1:7", echo)
		_, err := on(a).Listen(ctx, "udp4", ":7", echo)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		_, err = on(a).Listen(ctx, "udp4", "10.0.0.2:7", echo)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
		_, err = on(a).Dial(ctx, "udp", "10.0.1.1:7", echo)
		require.ErrorIs(t, err, syscall.ENETUNREACH)
		require.ErrorIs(t, c.SendTo(nil, netip.MustParseAddrPort("10.0.1.1:7")), syscall.ENETUNREACH)
		require.ErrorIs(t, c.SendTo(nil, netip.MustParseAddrPort("10.0.0.255:7")), syscall.EACCES)
		require.ErrorIs(t, c.SendTo(nil, netip.MustParseAddrPort("255.255.255.255:7")), syscall.EACCES)
		_, err = c.SyscallConn()
		require.ErrorIs(t, err, errors.ErrUnsupported)
		closed(t, c)
		_, err = on(a).Dial(ctx, "udp", "nobody:7", echo)
		require.ErrorContains(t, err, "no such host")
	})
}

// listenerOf is the address of a port of a host.
func listenerOf(h *udptest.Host, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(h.Addr(), port)
}
