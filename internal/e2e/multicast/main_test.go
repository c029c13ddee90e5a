// Package multicast tests the multicast of package udp on the interfaces of network
// namespaces, and together with other programs.
package multicast_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen before it fails. A shorter wait
// proves nothing.
const patience = time.Minute

// finish closes a socket, waits for its end and checks its counters.
func finish(t testing.TB, m *udp.MulticastConn) {
	t.Helper()
	assert.NoError(t, m.Close())
	<-m.Done()
	s := m.Stats()
	assert.Equal(t, s.Received, s.Handled+s.Dropped.Total(), "received is handled or dropped: %+v", s)
}

// next receives from ch, or fails the test after a long time.
func next[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
	}
	return v
}

func requireOpError(t testing.TB, err error, op string) {
	t.Helper()
	var oe *net.OpError
	require.ErrorAs(t, err, &oe)
	require.Equal(t, op, oe.Op, "%v", err)
}
