package reports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// slow throttles a device so much that a socket's buffer stays full, or, with a short queue,
// that the queue does. It skips the test if the kernel has no token bucket.
func slow(t *testing.T, ns *netns.NS, device string, queue int) {
	t.Helper()
	if out, err := ns.Try("tc", "qdisc", "add", "dev", device, "root", "tbf",
		"rate", "8kbit", "burst", "2000", "limit", fmt.Sprint(queue)); err != nil {
		t.Skip("no token bucket:", out)
	}
}

// Report 31: on a full link a datagram waits until its own context ends. Other datagrams, which
// wait without a limit, do not fail. If the context has ended already, there is no wait.
func TestASendWithItsOwnDeadline(t *testing.T) {
	netns.Run(t, func() {
		for name, cfg := range map[string]udp.Config{"plain": {}, "PeerErrors": {PeerErrors: true}} {
			l := newLab(t)
			slow(t, l.s, "s1", 10_000_000)
			cfg.WriteBuffer = 20_000
			c := listen(t, l.s, cfg, "udp4", ":0", nil)
			to := netip.MustParseAddrPort("10.0.1.2:9")
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			send := func(ctx context.Context) error {
				return c.SendContext(ctx, udp.Message{Data: make([]byte, 1000), To: to})
			}
			require.NoError(t, send(ended), "%s: there is room", name)
			sent := 1
			var err error
			for err = nil; err == nil; sent++ {
				err = send(ended)
			}
			require.ErrorIs(t, err, context.Canceled)
			var op *net.OpError
			require.ErrorAs(t, err, &op)

			without := make(chan error, 1)
			go func() {
				var err error
				for err == nil {
					err = c.SendTo(make([]byte, 1000), to)
				}
				without <- err
			}()
			for range 3 {
				short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
				require.ErrorIs(t, send(short), context.DeadlineExceeded)
				cancel()
			}
			require.Empty(t, without, "the other one still waits")
			require.EqualValues(t, 4, c.Stats().SendFailed.Deadline)

			waiting := make(chan error, 1)
			go func() { waiting <- send(context.Background()) }()
			sockettest.Finish(t, c.Conn)
			require.ErrorIs(t, sockettest.Next(t, waiting), net.ErrClosed)
			require.ErrorIs(t, sockettest.Next(t, without), net.ErrClosed)
			require.ErrorIs(t, send(ended), net.ErrClosed)
		}
	})
}

// Report 31: a datagram that waits for room in the queue of an interface is sent once there is
// room. (Linux returns ENOBUFS for a full queue to sockets with an error queue.)
func TestASendWaitsForTheQueueOfTheInterface(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		slow(t, l.s, "s1", 4000)
		c := listen(t, l.s, udp.Config{PeerErrors: true}, "udp4", ":0", nil)
		to := netip.MustParseAddrPort("10.0.1.2:9")
		for !errors.Is(c.enqueue(to, 4), unix.ENOBUFS) {
		}
		require.NoError(t, c.SendContext(context.Background(), udp.Message{Data: make([]byte, 1000), To: to}))
		require.Zero(t, c.Stats().SendFailed.Deadline)
	})
}

// enqueue sends datagrams, which are sent once.
func (s *socket) enqueue(to netip.AddrPort, n int) (err error) {
	for range n {
		err = errors.Join(err, s.Enqueue(udp.Message{Data: make([]byte, 1000), To: to}))
	}
	return errors.Join(err, s.Flush())
}

// Report 18: of 50 destinations a firewall drops one and another has no route. One call
// sends the other 48, with the errors by index, and Stats add up.
func TestEachDestinationOfABatchForItself(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		l.c.IP("route add local 198.51.100.0/24 dev lo")
		l.s.IP("route add 198.51.100.0/24 via 10.0.1.2")
		l.s.Command("nft", "add table inet no")
		l.s.Command("nft", "add chain inet no out { type filter hook output priority 0; }")
		l.s.Command("nft", "add rule inet no out ip daddr 198.51.100.10 drop")
		server := listen(t, l.c, udp.Config{}, "udp", ":0", nil)
		for _, cfg := range []udp.Config{{}, {PeerErrors: true}} {
			c := listen(t, l.s, cfg, "udp4", ":0", nil)
			ms := make([]udp.Message, 50)
			for i := range ms {
				ms[i] = udp.Message{Data: []byte{byte(i)}, To: server.at(fmt.Sprintf("198.51.100.%d", i))}
			}
			ms[20].To = netip.MustParseAddrPort("203.0.113.1:7")
			n, err := c.SendBatch(ms)
			require.Equal(t, 48, n)
			var batch *udp.BatchError
			require.ErrorAs(t, err, &batch)
			require.Len(t, batch.Failed, 2)
			require.Equal(t, []int{10, 20}, []int{batch.Failed[0].Index, batch.Failed[1].Index})
			require.ErrorIs(t, batch.Failed[0].Err, os.ErrPermission)
			require.ErrorIs(t, batch.Failed[1].Err, unix.ENETUNREACH)
			seen := map[string]bool{}
			for range 48 {
				seen[sockettest.Next(t, server.got).data] = true
			}
			require.Len(t, seen, 48)
			s := c.Stats()
			require.EqualValues(t, 48, s.Sent)
			require.Equal(t, udp.SendFailures{Denied: 1, Unreachable: 1}, s.SendFailed)
			require.LessOrEqual(t, s.Retried, uint64(9))
		}
	})
}
