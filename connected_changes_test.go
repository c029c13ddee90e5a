//go:build unix

package udp_test

import (
	"context"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
)

// A datagram to the old peer is sent to it or not at all, although the system sends what
// a connected socket sends to whatever peer it has then.
func TestADatagramToOnePeerNeverReachesTheNext(t *testing.T) {
	next := sockettest.At("192.0.2.9", 9)
	message := udp.Message{Data: []byte("old"), To: sockettest.There}
	// Each has to send again: a first try meets an older datagram's ICMP error, or has no
	// room.
	sends := map[string]struct {
		send  func(c *udp.ConnectedConn) error
		first syscall.Errno
	}{
		"SendTo":    {func(c *udp.ConnectedConn) error { return c.SendTo(message.Data, message.To) }, syscall.ECONNREFUSED},
		"SendBatch": {func(c *udp.ConnectedConn) error { _, err := c.SendBatch([]udp.Message{message}); return err }, syscall.ECONNREFUSED},
		"SendContext": {func(c *udp.ConnectedConn) error { return c.SendContext(context.Background(), message) },
			syscall.EAGAIN},
		"Enqueue": {func(c *udp.ConnectedConn) error { return c.Enqueue(message) }, syscall.ECONNREFUSED},
	}
	for name, test := range sends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sockettest.NewScripted()
				c := s.Dial(t, udp.Config{}, udp.BaseHandler{})
				changed := make(chan error, 1)
				var peers []netip.AddrPort // of the datagrams that were sent
				tries := 0
				s.OnSend = func(socket.Message) error {
					if tries++; tries == 1 {
						go func() { changed <- c.Reconnect(next) }()
						s.Mu.Unlock() // the reader takes it
						synctest.Wait()
						s.Mu.Lock()
						return sockettest.SysError(test.first)
					}
					peers = append(peers, c.RemoteAddrPort())
					return nil
				}
				if err := test.send(c); err != nil {
					require.ErrorIs(t, err, syscall.EISCONN)
				}
				require.NoError(t, <-changed)
				_ = c.Flush()
				s.Mu.Lock()
				defer s.Mu.Unlock()
				require.NotContains(t, peers, next)
			})
		})
	}
}

// What is enqueued while the peer changes is for the peer that it names.
func TestADatagramEnqueuedDuringReconnectIsForThePeerItNames(t *testing.T) {
	next := sockettest.At("192.0.2.9", 9)
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		entered, release := make(chan struct{}, 2), make(chan struct{})
		c := s.Dial(t, udp.Config{}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			assert.NoError(t, d.Reply([]byte("pending")))
			entered <- struct{}{}
			<-release
		}))
		s.Arrive("one", "two") // so that the reply to the first waits
		var peers []netip.AddrPort
		late := make(chan error, 1)
		s.OnSend = func(m socket.Message) error {
			if string(m.Data) == "pending" {
				go func() { late <- c.Enqueue(udp.Message{Data: []byte("late"), To: sockettest.There}) }()
				s.Mu.Unlock() // the reader takes it
				synctest.Wait()
				s.Mu.Lock()
			} else {
				peers = append(peers, c.RemoteAddrPort())
			}
			return nil
		}
		<-entered
		require.NoError(t, c.Reconnect(next))
		if err := <-late; err != nil {
			require.ErrorIs(t, err, syscall.EISCONN)
		}
		_ = c.Flush()
		close(release)
		sockettest.Stop(t, c)
		require.NotContains(t, peers, next)
	})
}
