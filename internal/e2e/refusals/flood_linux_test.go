package refusals_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// hearing has the kinds of sockets that report ICMP errors.
var hearing = []struct {
	name      string
	connected bool
}{{"connected", true}, {"unconnected", false}}

// listenForRefusals makes a socket that reports if nobody listens on a port. It skips the test
// if the system can't do that.
func listenForRefusals(t *testing.T, connected bool, network string, h udp.Handler) (c *udp.Conn, dead netip.AddrPort) {
	t.Helper()
	dead = sockettest.DeadPort(t, network)
	c, err := udp.Config{PeerErrors: !connected}.Listen(t.Context(), network, sockettest.Loopback(network)+":0", h)
	sockettest.RequireSupported(t, err)
	sockettest.CloseAtEnd(t, c)
	if connected {
		_, err = c.Connect(dead)
		require.NoError(t, err)
	}
	return c, dead
}

// One goroutine sends 10,000 datagrams to a dead port as fast as it can. On loopback each is
// refused before the next one leaves. Refused is called 10,000 times, in order, whether the
// handler keeps up or not.
func TestEveryRefusalOfAFloodIsReported(t *testing.T) {
	const n = 10_000
	for _, kind := range hearing {
		for _, network := range sockettest.Networks(t) {
			for _, slow := range []bool{false, true} {
				name := kind.name + " " + network
				if slow {
					name += ", the handler is busy until all is sent"
				}
				t.Run(name, func(t *testing.T) {
					gate, all, reported := make(chan struct{}), make(chan struct{}), 0
					if !slow {
						close(gate)
					}
					c, dead := listenForRefusals(t, kind.connected, network, &sockettest.Funcs{OnRefused: func(c *udp.Conn, r *udp.Refusal) {
						<-gate
						if c.Info().ErrorQueue && string(r.Payload) != strconv.Itoa(reported) {
							t.Errorf("the refusal of %q is number %d", r.Payload, reported)
						}
						if reported++; reported == n {
							close(all)
						}
					}})
					for i := range n {
						require.NoError(t, c.SendTo([]byte(strconv.Itoa(i)), dead))
					}
					if slow {
						close(gate)
					}
					sockettest.Next(t, all)
					sockettest.Stop(t, c)
					s := c.Stats()
					require.EqualValues(t, n, s.Sent)
					require.EqualValues(t, n, s.Refused)
					require.Zero(t, s.RefusalsLost)
				})
			}
		}
	}
}

// A handler that sends two datagrams for each ICMP error causes more of them than are
// reported to it, until it stops.
func TestTwoSendsForEachRefusalAreBothReported(t *testing.T) {
	const n = 10_001
	for _, kind := range hearing {
		t.Run(kind.name, func(t *testing.T) {
			all, sent, reported := make(chan struct{}), 1, 0
			c, dead := listenForRefusals(t, kind.connected, "udp4", &sockettest.Funcs{OnRefused: func(c *udp.Conn, r *udp.Refusal) {
				for range 2 {
					if sent < n {
						sent++
						if err := c.SendTo([]byte("again"), r.Peer); err != nil {
							t.Error(err)
						}
					}
				}
				if reported++; reported == n {
					close(all)
				}
			}})
			require.NoError(t, c.SendTo([]byte("first"), dead))
			sockettest.Next(t, all)
			sockettest.Stop(t, c)
			require.EqualValues(t, n, c.Stats().Refused)
			require.Zero(t, c.Stats().RefusalsLost)
		})
	}
}

// ICMP errors that wait for a busy handler take a bounded space. Those beyond it are counted, and
// so are those that still wait when the socket is closed. Shutdown reports all that wait.
func TestRefusalsThatAreNotReportedAreCounted(t *testing.T) {
	for _, test := range []struct {
		name            string
		n               int
		end             func(*udp.Conn) error
		reported, never bool // all but those that had no room; none but the first
	}{
		{"no room, then Shutdown", 40_000, func(c *udp.Conn) error { return c.Shutdown(context.Background()) }, true, false},
		{"Shutdown", 1000, func(c *udp.Conn) error { return c.Shutdown(context.Background()) }, true, false},
		{"Close", 1000, func(c *udp.Conn) error { return c.Close() }, false, true},
	} {
		for _, kind := range hearing {
			t.Run(test.name+", "+kind.name, func(t *testing.T) {
				gate, busy := make(chan struct{}), make(chan struct{}, 1)
				c, dead := listenForRefusals(t, kind.connected, "udp4", &sockettest.Funcs{OnRefused: func(*udp.Conn, *udp.Refusal) {
					select {
					case busy <- struct{}{}:
					default:
					}
					<-gate
				}})
				payload := make([]byte, 1000)
				for i := range test.n {
					require.NoError(t, c.SendTo(payload, dead))
					if i == 0 {
						sockettest.Next(t, busy)
					}
				}
				ended := make(chan error, 1)
				go func() { ended <- test.end(c) }()
				if test.never {
					require.NoError(t, sockettest.Next(t, ended))
					ended <- nil
				}
				close(gate)
				require.NoError(t, sockettest.Next(t, ended))
				sockettest.Next(t, c.Done())
				s := c.Stats()
				all := int(s.Refused + s.RefusalsLost)
				if c.Info().ErrorQueue {
					require.Equal(t, test.n, all, "%+v", s)
				} else {
					// An error that no call has returned disappears with the socket.
					require.InDelta(t, test.n, all, 1, "%+v", s)
				}
				switch {
				case test.never:
					require.EqualValues(t, 1, s.Refused)
				case test.n > 20_000:
					require.Greater(t, s.Refused, uint64(10_000))
					require.Greater(t, s.RefusalsLost, uint64(1000))
				default:
					require.Zero(t, s.RefusalsLost)
				}
			})
		}
	}
}

// On loopback the segments of a send are refused one by one. The kernel's own counter has the
// number.
func TestEveryRefusalOfABatchIsReported(t *testing.T) {
	const n = 10_000
	for _, kind := range hearing {
		t.Run(kind.name, func(t *testing.T) {
			netns.Run(t, func() {
				ns := netns.New(t)
				reported := make(chan struct{}, n)
				h := &sockettest.Funcs{OnRefused: func(*udp.Conn, *udp.Refusal) { reported <- struct{}{} }}
				var c *udp.Conn
				var dead netip.AddrPort
				ns.Do(func() { c, dead = listenForRefusals(t, kind.connected, "udp4", h) })
				ms := make([]udp.Message, 100)
				for i := range ms {
					ms[i] = udp.Message{Data: make([]byte, 10+i/10%3), To: dead}
				}
				for range n / len(ms) {
					sent, err := c.SendBatch(ms)
					require.NoError(t, err)
					require.Equal(t, len(ms), sent)
					// The socket keeps up with what is refused during a send only.
					ns.Do(func() { sockettest.Settle(t) })
				}
				messages := icmpSent(t, ns)
				require.Positive(t, messages)
				require.LessOrEqual(t, messages, n)
				for range messages {
					sockettest.Next(t, reported)
				}
				sockettest.Stop(t, c)
				require.EqualValues(t, messages, c.Stats().Refused)
				require.Zero(t, c.Stats().RefusalsLost)
			})
		})
	}
}

// icmpSent returns how many "port unreachable" messages a namespace has sent.
func icmpSent(t *testing.T, ns *netns.NS) int {
	t.Helper()
	var b []byte
	var err error
	ns.Do(func() { b, err = os.ReadFile("/proc/thread-self/net/snmp") })
	require.NoError(t, err)
	var names []string
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		switch {
		case words[0] != "Icmp:":
		case names == nil:
			names = words
		default:
			for i, name := range names {
				if name == "OutDestUnreachs" {
					n, err := strconv.Atoi(words[i])
					require.NoError(t, err)
					return n
				}
			}
		}
	}
	require.FailNow(t, fmt.Sprintf("no OutDestUnreachs in %s", b))
	return 0
}
