package faults_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// A firewall that drops on output makes sends fail with EPERM. The socket continues to work after
// that, and after the loss of its address or route.
func TestSendsSurviveWhatHappensToAHost(t *testing.T) {
	for _, test := range []struct {
		name         string
		breaks, mend func(ns *netns.NS)
		is           error
		counted      udp.SendFailures
	}{
		{"a firewall drops on output", func(ns *netns.NS) {
			ns.Command("nft", "add table inet no")
			ns.Command("nft", "add chain inet no out { type filter hook output priority 0; }")
			ns.Command("nft", "add rule inet no out meta l4proto udp drop")
		}, func(ns *netns.NS) { ns.Command("nft", "delete table inet no") }, os.ErrPermission, udp.SendFailures{Denied: 1}},
		{"the interface is down", func(ns *netns.NS) { ns.IP("link set left0 down") },
			func(ns *netns.NS) { ns.IP("link set left0 up"); ns.AwaitRunning("left0") },
			syscall.ENETUNREACH, udp.SendFailures{Unreachable: 1}},
		{"the address is removed", func(ns *netns.NS) { ns.IP("addr del 192.0.2.1/24 dev left0") },
			func(ns *netns.NS) { ns.Addr("left0", "192.0.2.1/24") },
			syscall.ENETUNREACH, udp.SendFailures{Unreachable: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			netns.Run(t, func() {
				here, there := netns.New(t), netns.New(t)
				netns.Veth(t, here, "left0", there, "right0")
				here.Addr("left0", "192.0.2.1/24")
				there.Addr("right0", "192.0.2.2/24")
				q, answers := udp.NewQueue(10, udp.Block), sockettest.NewRecorder()
				answers.OnReceived = func(_ *udp.Conn, d udp.Datagram) { d.Reply(d.Data) }
				var c, server *udp.Conn
				var err error
				there.Do(func() { server, err = udp.Listen(context.Background(), "udp4", ":0", answers) })
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, server)
				here.Do(func() { c, err = udp.Listen(context.Background(), "udp4", ":0", q) })
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				peer := server.LocalAddrPort().Port()
				to := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), peer)
				roundTrip := func(s string) {
					require.NoError(t, c.SendTo([]byte(s), to))
					require.Equal(t, s, string(sockettest.Next(t, q.Datagrams()).Data))
				}
				roundTrip("before")
				test.breaks(here)
				require.ErrorIs(t, c.SendTo([]byte("lost"), to), test.is)
				require.Equal(t, test.counted, c.Stats().SendFailed)
				test.mend(here)
				roundTrip("after")
				require.Zero(t, c.Stats().ReadErrors)
			})
		})
	}
}

// With a full send buffer a send waits until the deadline, and Close ends another one. The far end
// of the cable is throttled to a few bytes a second.
func TestAFullSendBufferHoldsASendUpAndNoLonger(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "left0", there, "right0")
		here.Addr("left0", "192.0.2.1/24")
		there.Addr("right0", "192.0.2.2/24")
		if out, err := here.Try("tc", "qdisc", "add", "dev", "left0", "root", "tbf",
			"rate", "8kbit", "burst", "2000", "limit", "10000000"); err != nil {
			t.Skip("no token bucket:", out)
		}
		var c *udp.Conn
		var err error
		here.Do(func() {
			c, err = udp.Config{WriteBuffer: 20_000}.Listen(context.Background(), "udp4", ":0", udp.BaseHandler{})
		})
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, c)
		to := netip.MustParseAddrPort("192.0.2.2:9")
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		for err == nil {
			err = c.SendTo(make([]byte, 1000), to)
		}
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.EqualValues(t, 1, c.Stats().SendFailed.Deadline)

		require.NoError(t, c.SetWriteDeadline(time.Time{}))
		result := make(chan error)
		go func() {
			var err error
			for err == nil {
				err = c.SendTo(make([]byte, 1000), to)
			}
			result <- err
		}()
		sockettest.Stop(t, c)
		require.ErrorIs(t, sockettest.Next(t, result), net.ErrClosed)
	})
}
