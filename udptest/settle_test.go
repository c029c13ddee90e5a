package udptest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// A datagram and its reply are in flight for a second each.
func TestSettleWaitsForDatagramsAndTheirReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Faults: udptest.Faults{Latency: time.Second}})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		listen(t, on(b), "udp", ":7", echo)
		got := 0
		c := dial(t, on(a), "udp", "b:7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got++ }))
		require.NoError(t, c.Send(nil))
		began := time.Now()
		n.Settle()
		require.Equal(t, 1, got)
		require.Equal(t, 4*time.Second+2*link, time.Since(began), "no longer than needed")
		n.Settle()
		require.Equal(t, 4*time.Second+2*link, time.Since(began), "nothing is in flight")
	})
}

func TestSettleReturnsWhileAHandlerIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		gate := make(chan struct{})
		listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { <-gate }))
		require.NoError(t, dial(t, on(a), "udp", "b:7", udp.BaseHandler{}).Send(nil))
		n.Settle()
		close(gate)
	})
}

func TestSettleFailsWhenDatagramsNeverEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(nil, udptest.Config{Faults: udptest.Faults{Latency: time.Second}})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		listen(t, on(b), "udp", ":7", echo)
		c := dial(t, on(a), "udp", "b:7", echo)
		require.NoError(t, c.Send([]byte("back and forth")))
		require.PanicsWithError(t, "udptest: datagrams are still in flight after 1h0m0s", n.Settle)
	})
}
