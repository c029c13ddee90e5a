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
		s.SetStuck(sockettest.SysError(syscall.ENOBUFS))
		time.Sleep(10 * time.Second) // the pauses have grown to a second
		start := time.Now()
		require.NoError(t, c.Send([]byte("datagram")))
		require.Zero(t, (<-refused).Sub(start))
		s.SetStuck(nil)
		sockettest.Stop(t, c)
	})
}
