//go:build linux

package refusals_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Datagrams for a neighbour that does not respond wait in the kernel and fill the socket's send
// buffer. Then the kernel reports an error for each. The poller sees a socket with an error that
// is neither readable nor writable, and refuses to wait for it (runtime/netpoll.go, eventErr).
func TestASocketWhoseSendBufferIsFullHearsOfErrorsAndGoesOn(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "left", there, "right")
		here.Addr("left", "192.0.2.1/24")
		there.Addr("right", "192.0.2.2/24")
		// The kernel tries to reach the neighbour once, for 20 ms.
		for key, value := range map[string]int{"retrans_time_ms": 20, "mcast_solicit": 1} {
			out, err := here.Try("sh", "-c", fmt.Sprintf("echo %d >/proc/sys/net/ipv4/neigh/left/%s", value, key))
			if err != nil {
				t.Skipf("%s can't be set: %v %s", key, err, out)
			}
		}
		var (
			c   *udp.Conn
			q   = udp.NewQueue(100, udp.Block)
			err error
		)
		here.Do(func() {
			c, err = udp.Config{PeerErrors: true, WriteBuffer: 4096}.Listen(context.Background(), "udp4", "192.0.2.1:0", q)
		})
		sockettest.RequireSupported(t, err)
		sockettest.CloseAtEnd(t, c)
		nobody := sockettest.At("192.0.2.99", 9)
		var peer *udp.Conn
		there.Do(func() {
			peer, err = udp.Listen(context.Background(), "udp4", "192.0.2.2:0", udp.BaseHandler{})
		})
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, peer)

		const rounds = 20
		for round := range rounds {
			sent := make(chan error, 1)
			go func() {
				for range 10 { // more than the buffer has room for: these wait for it
					if err := c.SendTo(make([]byte, 1000), nobody); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			require.NoError(t, <-sent)
			r := <-q.Refusals()
			require.Equal(t, nobody, r.Peer)
			// And it still reads.
			require.NoError(t, peer.SendTo([]byte{byte(round)}, c.LocalAddrPort()))
			d := <-q.Datagrams()
			require.Equal(t, []byte{byte(round)}, d.Data)
			d.Release()
		}
		sockettest.Stop(t, c)
		require.EqualValues(t, rounds, c.Stats().Handled)
		require.Zero(t, c.Stats().ReadErrors, "waiting that the poller refused is no failed read")
	})
}
