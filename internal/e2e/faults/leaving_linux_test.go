package faults_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// A socket that shuts down leaves its SO_REUSEPORT group at once, even while its
// handler is busy. Its flows move to the other members, and queued datagrams are handled, with
// replies from the addresses that were asked.
func TestShutdownLeavesItsGroup(t *testing.T) {
	netns.Run(t, func() {
		here, there := sockettest.TwoHosts(t)
		for _, test := range []struct {
			network, bind string
			asked         []string
		}{
			{"udp4", "192.0.2.1:0", []string{"192.0.2.1"}},
			{"udp4", ":0", []string{"192.0.2.1"}},
			{"udp6", "[2001:db8::1]:0", []string{"2001:db8::1"}},
			{"udp6", ":0", []string{"2001:db8::1"}},
			{"udp", ":0", []string{"192.0.2.1", "2001:db8::1"}},
		} {
			t.Run(test.network+" "+test.bind, func(t *testing.T) {
				const flows, rounds = 100, 5
				gate, busy := make(chan struct{}), make(chan struct{}, 1)
				handler := func(gate chan struct{}) udp.Handler {
					return udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
						if gate != nil {
							select {
							case busy <- struct{}{}:
							default:
							}
							<-gate
						}
						_ = c.SendTo(d.Data, d.From) // the system chooses the source
						_ = d.Reply(d.Data)
					})
				}
				var a, b *udp.Conn
				here.Do(func() {
					cfg := udp.Config{ReusePort: true, NoOffload: true, ReadBuffer: 1 << 20}
					var err error
					a, err = cfg.Listen(t.Context(), test.network, test.bind, handler(gate))
					require.NoError(t, err)
					b, err = cfg.Listen(t.Context(), test.network, a.LocalAddrPort().String(), handler(nil))
					require.NoError(t, err)
				})
				sockettest.CloseAtEnd(t, b)
				port := int(a.LocalAddrPort().Port())
				var clients []*net.UDPConn
				there.Do(func() {
					for i := range flows {
						uc, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.ParseIP(test.asked[i%len(test.asked)]), Port: port})
						require.NoError(t, err)
						clients = append(clients, uc)
						t.Cleanup(func() { uc.Close() })
					}
				})
				ask := func() {
					for _, uc := range clients {
						_, err := uc.Write([]byte("ask"))
						require.NoError(t, err)
					}
				}
				ask()
				sockettest.Next(t, busy)
				rc, err := a.SyscallConn()
				require.NoError(t, err)
				stopped := make(chan error)
				go func() { stopped <- a.Shutdown(context.Background()) }()
				require.Eventually(t, func() (left bool) { // it has a peer then: itself
					_ = rc.Control(func(fd uintptr) { _, err := unix.Getpeername(int(fd)); left = err == nil })
					return left
				}, sockettest.Patience, 1e6)
				for range rounds {
					ask()
				}
				require.Eventually(t, func() bool { return b.Stats().Handled >= flows*rounds }, sockettest.Patience, 1e6, "the gate is closed")
				close(gate)
				require.NoError(t, sockettest.Next(t, stopped))
				require.Positive(t, a.Stats().Handled)
				require.Eventually(t, func() bool { return a.Stats().Handled+b.Stats().Handled == flows*(1+rounds) }, sockettest.Patience, 1e6)
				for _, uc := range clients {
					for range 2 * (1 + rounds) {
						sockettest.Read(t, uc) // a connected socket hears only the address that it has asked
					}
				}
			})
		}
	})
}

// Each datagram that is sent to a socket until it is closed is received, counted as dropped, or
// refused by the kernel.
func TestNothingIsUncountedAtClose(t *testing.T) {
	netns.Run(t, func() {
		for how, end := range sockettest.Endings {
			t.Run(how, func(t *testing.T) {
				for range 20 {
					ns := netns.New(t)
					var c *udp.Conn
					var flood *net.UDPConn
					var got atomic.Int64
					ns.Do(func() {
						var err error
						c, err = udp.Config{NoOffload: true}.Listen(t.Context(), "udp4", "127.0.0.1:0",
							udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got.Add(1) }))
						require.NoError(t, err)
						flood, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
						require.NoError(t, err)
					})
					stop, sent := make(chan struct{}), make(chan uint64)
					go func() {
						n := uint64(0)
						for {
							select {
							case <-stop:
								sent <- n
								return
							default:
							}
							if _, err := flood.WriteToUDPAddrPort([]byte("x"), c.LocalAddrPort()); err == nil {
								n++
							}
						}
					}()
					require.Eventually(t, func() bool { return got.Load() > 100 }, sockettest.Patience, 1e6)
					end(t, c)
					close(stop)
					n := sockettest.Next(t, sent)
					s := c.Stats()
					// A slow kernel may not have looked for the socket of the last ones yet.
					require.Eventually(t, func() bool { return n == s.Received+uint64(s.KernelDrops)+unreachable(t, ns) },
						sockettest.Patience, time.Millisecond, "%d sent: %v", n, s)
					require.NoError(t, flood.Close())
				}
			})
		}
	})
}

// unreachable counts the datagrams that arrived in a namespace for no socket.
func unreachable(t *testing.T, ns *netns.NS) (n uint64) {
	t.Helper()
	var names []string
	for line := range strings.Lines(ns.Command("cat", "/proc/thread-self/net/snmp")) {
		fields := strings.Fields(line)
		switch {
		case fields[0] != "Udp:":
		case names == nil:
			names = fields
		default:
			for i, name := range names {
				if name == "NoPorts" {
					n, err := strconv.ParseUint(fields[i], 10, 64)
					require.NoError(t, err)
					return n
				}
			}
		}
	}
	t.Fatal("no counter NoPorts")
	return 0
}
