// Package client talks to a service while it is replaced.
package client

import (
	"context"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// Sent is how many requests Across sends before the restart begins, and as many after that.
const Sent = 100

// Across sends requests, calls restart, which is not to wait for anything, sends as many while the
// old process stops, and returns the replies, as many as requests. A request is its number.
func Across(t *testing.T, to netip.AddrPort, restart func()) (replies []string) {
	t.Helper()
	q := udp.NewQueue(2*Sent, udp.DropNewest)
	c, err := udp.Dial(t.Context(), "udp4", to.String(), q)
	require.NoError(t, err)
	defer c.Close()
	for i := range 2 * Sent {
		if i == Sent {
			restart()
		}
		require.NoError(t, c.Send([]byte(strconv.Itoa(i))))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 * Sent {
		d, err := q.Receive(ctx)
		require.NoError(t, err, "after %d replies; the client: %v", len(replies), c.Stats())
		replies = append(replies, string(d.Data))
		d.Release()
	}
	return replies
}
