//go:build unix

package udp_test

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
)

// A reader that pauses after errors of reads passes on at once what a send has met.
func TestARefusalEndsThePauseAfterReadErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := make(chan time.Time, 1)
		s := sockettest.NewScripted()
		met := false
		s.OnSend = func(socket.Message) error {
			if met {
				return nil
			}
			met = true
			return sockettest.SysError(syscall.ECONNREFUSED)
		}
		c := s.Dial(t, udp.Config{}, &sockettest.Funcs{
			OnRefused: func(*udp.Conn, *udp.Refusal) { refused <- time.Now() },
		})
		start := pauseLong(s, func() {})
		require.NoError(t, c.Send([]byte("datagram")))
		require.Zero(t, (<-refused).Sub(start))
		s.SetStuck(nil)
		sockettest.Stop(t, c)
	})
}

func TestShutdownEndsThePauseAfterReadErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		c := s.Dial(t, udp.Config{}, udp.BaseHandler{})
		start := pauseLong(s, func() { s.SetStuck(nil) })
		require.NoError(t, c.Shutdown(t.Context()))
		require.Zero(t, time.Since(start))
	})
}

// pauseLong makes reads fail until the reader pauses for a second, and returns the time
// then. The next Wake comes late, after onWake.
func pauseLong(s *sockettest.Scripted, onWake func()) time.Time {
	s.SetStuck(sockettest.SysError(syscall.ENOBUFS))
	time.Sleep(10 * time.Second)
	synctest.Wait()
	s.OnWake = func() {
		s.OnWake = nil
		synctest.Wait()
		onWake()
	}
	return time.Now()
}
