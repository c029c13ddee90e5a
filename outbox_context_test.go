//go:build unix

package udp_test

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// With a context that has ended, SendContext sends if it need not wait: neither for the
// outbox, nor for room.
func TestSendContextWithAnEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
		first, second := udp.Message{Data: []byte("1"), To: sockettest.There}, udp.Message{Data: []byte("2"), To: sockettest.There}
		full := sockettest.Always(sockettest.SysError(syscall.EAGAIN))

		s.OnSend = full
		require.ErrorIs(t, c.SendContext(sockettest.Canceled(), second), context.Canceled, "no room")
		require.NoError(t, c.Enqueue(first))
		synctest.Wait() // the writer waits for room
		s.Mu.Lock()
		s.OnSend = nil
		s.Mu.Unlock()
		require.ErrorIs(t, c.SendContext(sockettest.Canceled(), second), context.Canceled, "the writer has the outbox")
		require.EqualValues(t, 2, c.Stats().SendFailed.Deadline)
		require.NoError(t, c.Flush())
		require.Equal(t, []string{"1"}, s.TakeSent())
		require.NoError(t, c.SendContext(sockettest.Canceled(), second))
		require.Equal(t, []string{"2"}, s.TakeSent())
		sockettest.Stop(t, c)
	})
}
