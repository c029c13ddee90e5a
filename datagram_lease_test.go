//go:build unix

package udp_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/sockettest"
)

// Of a long packet, the datagrams after the 64th have a lease of their own also if the
// first of them is dropped: releasing one of them twice does not release an earlier one.
func TestALeaseBeginsAfterADroppedDatagram(t *testing.T) {
	s := sockettest.NewScripted()
	var c *udp.ConnectedConn
	received, dropped := 0, 0
	cfg := udp.Config{Trace: &udp.Trace{Dropped: func(*udp.Conn, udp.Datagram, udp.DropReason) {
		dropped++
		assert.NoError(t, c.Reconnect(sockettest.There))
	}}}
	c = s.Dial(t, cfg, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		switch received++; received {
		case 6:
			d.Retain()
			t.Cleanup(d.Release)
		case buffer.MaxLease: // the next datagram is dropped
			assert.NoError(t, c.Reconnect(sockettest.Here))
		case buffer.MaxLease + 1:
			d.Retain()
			d.Release()
			assert.Panics(t, d.Release, "it is not the sixth")
		}
	}))
	s.Inputs <- sockettest.Coalesced(strings.Repeat("x", 2*buffer.MaxLease))
	require.NoError(t, c.Shutdown(t.Context()))
	require.Equal(t, 1, dropped)
	require.Equal(t, 2*buffer.MaxLease-1, received)
	sockettest.CountersAgree(t, c.Stats())
}
