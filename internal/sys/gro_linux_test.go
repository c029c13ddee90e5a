//go:build !udpbasic

package sys

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// before calls f before each Control.
type before struct {
	syscall.RawConn
	f func()
}

func (b before) Control(f func(fd uintptr)) error {
	b.f()
	return b.RawConn.Control(f)
}

// While a reader switches UDP_GRO on, nobody else switches it off in between and then
// finds it on.
func TestUncoalescedIsFinal(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	if c.path.gro.state.Load() != groWanted {
		t.Skip("no UDP_GRO here")
	}
	uncoalesced := false
	c.path.coalesce(before{c.rc, func() {
		if c.path.gro.mu.TryLock() { // nothing keeps Uncoalesced out
			c.path.gro.mu.Unlock()
			uncoalesced = true
			require.NoError(t, c.Uncoalesced())
		}
	}})
	if !uncoalesced {
		require.NoError(t, c.Uncoalesced())
	}
	c.path.coalesce(c.rc) // not again
	require.NoError(t, onFD(c.rc, func(fd int) error {
		on, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO)
		require.Zero(t, on)
		return err
	}))
}
