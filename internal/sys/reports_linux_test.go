//go:build !udpbasic

package sys

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

const patience = time.Minute

// hearingSink takes nothing but ICMP messages.
type hearingSink struct {
	reports chan socket.Report
	stop    chan struct{} // closed: Woken says so
}

func (s hearingSink) Packets([]socket.Packet) bool { return true }
func (s hearingSink) Fault(error) bool             { return true }
func (s hearingSink) Reports(rs []socket.Report) bool {
	for _, r := range rs {
		s.reports <- r
	}
	return true
}
func (s hearingSink) Woken() socket.Action {
	select {
	case <-s.stop:
		return socket.Stop
	default:
		return socket.Continue
	}
}

// dead is a port of loopback on which nobody listens: its socket has a peer.
func dead(t *testing.T) netip.AddrPort {
	t.Helper()
	holder, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	require.NoError(t, err)
	t.Cleanup(func() { holder.Close() })
	return unmap(holder.LocalAddr().(*net.UDPAddr).AddrPort())
}

// A sender has found the error queue empty, and is not done with it when the next
// message arrives, which the kernel reports to the reader only.
func TestAMessageThatTheReaderCouldNotTakeIsReported(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{PeerErrors: true})
	s := hearingSink{make(chan socket.Report, 1), make(chan struct{})}
	served := make(chan error)
	go func() { served <- c.Serve(s) }()
	q := &c.path.queue
	q.taking.Lock()
	taken := true
	defer func() {
		if taken { // Close takes it
			q.taking.Unlock()
		}
	}()
	require.NoError(t, onFD(c.rc, func(fd int) error { require.True(t, q.takeAll(c, fd)); return nil }))
	_, err := c.uc.WriteToUDPAddrPort([]byte("x"), dead(t))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.missed && !q.attended // the reader has looked, and waits again
	}, patience, time.Millisecond)
	wake := false
	taken = false
	require.NoError(t, onFD(c.rc, func(fd int) error { wake = q.leave(c, fd, true); return nil }))
	require.True(t, wake)
	c.lookAtReports()
	select {
	case r := <-s.reports:
		require.Equal(t, "x", string(r.Payload))
	case <-time.After(patience):
		require.FailNow(t, "never told")
	}
	close(s.stop)
	c.Wake()
	require.NoError(t, <-served)
}

// An entry whose control messages have no room is counted.
func TestAnEntryThatWasCutIsCounted(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{PeerErrors: true})
	_, err := c.uc.WriteToUDPAddrPort([]byte("x"), dead(t))
	require.NoError(t, err)
	q := &c.path.queue
	require.NoError(t, onFD(c.rc, func(fd int) error {
		q.takeInto(c, fd, make([]byte, unix.SizeofCmsghdr))
		return nil
	}))
	require.Zero(t, q.count())
	require.EqualValues(t, 1, c.LostReports())
}

// An error that nobody knows is a message's when there is one.
func TestAnUnknownErrnoIsAMessagesWhenThereIsOne(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{PeerErrors: true})
	r := receiver{conn: c}
	require.False(t, r.reported(unix.EXDEV))
	_, err := c.uc.WriteToUDPAddrPort([]byte("x"), dead(t))
	require.NoError(t, err)
	require.True(t, r.reported(unix.EXDEV))
	require.False(t, r.reported(unix.EXDEV))
	require.Equal(t, 1, c.path.queue.count())

	_, err = c.uc.WriteToUDPAddrPort([]byte("x"), dead(t))
	require.NoError(t, err)
	require.ErrorIs(t, c.sendErr(sysErr("sendmsg", unix.EXDEV)), unix.EXDEV)
	require.Equal(t, 2, c.path.queue.count())
	require.True(t, c.ErrorPending(), "so the send is repeated")
}
