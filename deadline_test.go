//go:build unix

package udp_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
)

// SetWriteDeadline beside Close does not let a send wait that Close has ended.
func TestAWriteDeadlineBesideCloseStaysInThePast(t *testing.T) {
	s := &deadlines{Scripted: sockettest.NewScripted(), entered: make(chan struct{}), leave: make(chan struct{})}
	c, err := udp.Config{Network: s}.Listen(t.Context(), "udp4", sockettest.Here.String(), udp.BaseHandler{})
	require.NoError(t, err)
	var setter sync.WaitGroup
	setter.Go(func() { c.SetWriteDeadline(time.Time{}) })
	sockettest.Next(t, s.entered)
	sockettest.Stop(t, c)
	close(s.leave)
	setter.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.True(t, !s.last.IsZero() && s.last.Before(time.Now()), "%v", s.last)
	require.ErrorIs(t, c.SetWriteDeadline(time.Time{}), net.ErrClosed)
}

// A write deadline that is set while a send waits to be repeated ends that wait.
func TestAWriteDeadlineReachesASendThatIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
		s.OnSend = sockettest.Always(sockettest.SysError(syscall.EAGAIN))
		sent := make(chan error, 1)
		go func() { sent <- c.SendTo([]byte("a"), sockettest.There) }()
		time.Sleep(200 * time.Millisecond) // in a pause of 64
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Millisecond)))
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Hour)), "nobody has to have waited for the first")
		time.Sleep(200 * time.Millisecond)
		start := time.Now()
		require.NoError(t, c.SetWriteDeadline(start))
		require.ErrorIs(t, <-sent, os.ErrDeadlineExceeded)
		require.Zero(t, time.Since(start))
		sockettest.Stop(t, c)
	})
}

// What a callback has sent before it sets a write deadline leaves before that.
func TestAWriteDeadlineInACallbackIsForWhatComesAfter(t *testing.T) {
	s := sockettest.NewScripted()
	var before, after int
	c := s.Listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		if string(d.Data) == "1" {
			assert.NoError(t, d.Reply([]byte("gathered")))
			before = len(s.SentData)
			assert.NoError(t, c.SetWriteDeadline(time.Unix(1, 0)))
			after = len(s.SentData)
		}
	}))
	s.Arrive("1", "2")
	require.NoError(t, c.Shutdown(t.Context()))
	require.Equal(t, [2]int{0, 1}, [2]int{before, after})
}

// deadlines is a scripted network on which setting no write deadline takes a while.
type deadlines struct {
	*sockettest.Scripted
	entered, leave chan struct{}
	mu             sync.Mutex
	last           time.Time
}

func (s *deadlines) SetWriteDeadline(at time.Time) error {
	if at.IsZero() {
		close(s.entered)
		<-s.leave
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = at
	return nil
}

// Open implements socket.Network.
func (s *deadlines) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return s, nil
}
