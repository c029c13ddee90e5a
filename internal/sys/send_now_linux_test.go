package sys

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/socket"
)

// full makes a socket whose send buffer stays full: its datagrams wait for the
// link-layer address of a neighbour that never responds.
func full(t *testing.T, connected bool) (c *Conn, ms []socket.Message) {
	here, there := netns.New(t), netns.New(t)
	netns.Veth(t, here, "left", there, "right")
	here.Addr("left", "192.0.2.1/24")
	to := netip.MustParseAddrPort("192.0.2.99:9")
	here.Do(func() {
		for _, name := range []string{"mcast_solicit", "unres_qlen_bytes"} {
			path := filepath.Join("/proc/sys/net/ipv4/neigh/left", name)
			require.NoError(t, os.WriteFile(path, []byte("1000000"), 0))
		}
		c = open(t, "udp4", "0.0.0.0:0", socket.Options{WriteBuffer: 8192})
	})
	if connected {
		_, err := c.Connect(to)
		require.NoError(t, err)
		to = netip.AddrPort{}
	}
	return c, []socket.Message{{Data: make([]byte, 1000), To: to}, {Data: make([]byte, 900), To: to}, {Data: make([]byte, 10), To: to}}
}

func TestABatchThatDoesNotWaitSaysThatThereIsNoRoom(t *testing.T) {
	netns.Run(t, func() {
		for _, connected := range []bool{false, true} {
			c, ms := full(t, connected)
			total, tries := 0, 0
			for {
				n, err := c.SendBatch(ms, false)
				total += n
				if err != nil {
					require.Equal(t, Again, Classify(err), "%v", err)
					break
				}
				require.Equal(t, len(ms), n)
				tries++
				require.Less(t, tries, 1000)
			}
			require.Positive(t, total)

			// A sender that waits for room must not make this one wait too.
			waited := make(chan error)
			go func() {
				for {
					if _, err := c.SendBatch(ms, true); err != nil {
						waited <- err
						return
					}
				}
			}()
			stop := time.Now().Add(50 * time.Millisecond)
			for calls := 0; calls < 100 || time.Now().Before(stop); calls++ {
				_, err := c.SendBatch(ms, false)
				require.True(t, err == nil || Classify(err) == Again, "%v", err)
			}
			require.NoError(t, c.SetWriteDeadline(time.Unix(1, 0)))
			require.ErrorIs(t, <-waited, os.ErrDeadlineExceeded)
			_, err := c.SendBatch(ms, false)
			require.Equal(t, Again, Classify(err), "the deadline is for senders that wait: %v", err)

			require.NoError(t, c.Close())
			_, err = c.SendBatch(ms, false)
			require.Equal(t, Closed, Classify(err), "%v", err)
		}
	})
}
