package udp_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// The kernel stops a batch at a datagram that meets an older one's error, and
// the error is gone with that.
func TestARefusalInTheMiddleOfABatchIsReported(t *testing.T) {
	live, dead := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{}), sockettest.DeadPort(t, "udp4")
	for range 50 {
		q := udp.NewQueue(1, udp.DropNewest)
		c, err := udp.Config{PeerErrors: true}.Listen(t.Context(), "udp4", "127.0.0.1:0", q)
		sockettest.RequireSupported(t, err)
		n, err := c.SendBatch([]udp.Message{{Data: []byte("a"), To: dead}, {Data: []byte("b"), To: live.LocalAddrPort()}})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, dead, (<-q.Refusals()).Peer)
		sockettest.Stop(t, c)
	}
}

// Switching the error queue off empties it.
func TestARefusalIsReportedAlthoughTheSocketDisconnects(t *testing.T) {
	dead := sockettest.DeadPort(t, "udp4")
	for range 50 {
		q := udp.NewQueue(1, udp.DropNewest)
		c := sockettest.Listen(t, udp.Config{}, "udp4", q)
		if !c.Info().ErrorQueue {
			t.Skip("disconnecting takes the error away here")
		}
		connected, err := c.Connect(dead)
		require.NoError(t, err)
		require.NoError(t, connected.Send([]byte("x")))
		_, err = connected.Disconnect()
		require.NoError(t, err)
		require.Equal(t, dead, (<-q.Refusals()).Peer)
		sockettest.Stop(t, c)
	}
}

// third is a connected socket whose handler calls f for the third datagram, when
// others of the same read still wait, so that its replies are kept.
func third(t *testing.T, f func(c *udp.ConnectedConn, d udp.Datagram)) (peer *udp.Conn, replies *udp.Queue, done chan struct{}) {
	replies = udp.NewQueue(100, udp.Block)
	peer = sockettest.Listen(t, udp.Config{}, "udp4", replies)
	entered, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	n := 0
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		switch n++; n {
		case 1:
			close(entered)
			<-release
		case 3:
			connected, _ := c.Connected()
			f(connected, d)
			close(done)
		}
	}))
	_, err := c.Connect(peer.LocalAddrPort())
	require.NoError(t, err)
	for i := range 20 {
		require.NoError(t, peer.SendTo([]byte("hello"), c.LocalAddrPort()))
		if i == 0 {
			sockettest.Next(t, entered)
		}
	}
	close(release)
	return peer, replies, done
}

func elsewhere(f func()) {
	ready := make(chan struct{})
	go func() { defer close(ready); f() }()
	<-ready
}

func TestWhatWasRepliedToOnePeerNeverReachesAnother(t *testing.T) {
	others := udp.NewQueue(100, udp.Block)
	other := sockettest.Listen(t, udp.Config{}, "udp4", others)
	_, replies, done := third(t, func(c *udp.ConnectedConn, d udp.Datagram) {
		assert.NoError(t, d.Reply([]byte("for the first")))
		elsewhere(func() { assert.NoError(t, c.Reconnect(other.LocalAddrPort())) })
		assert.ErrorIs(t, d.Reply([]byte("for the first")), syscall.EISCONN)
		assert.NoError(t, c.Enqueue(udp.Message{Data: []byte("for the second")}))
	})
	sockettest.Next(t, done)
	require.Equal(t, "for the first", string(sockettest.Next(t, replies.Datagrams()).Data))
	require.Equal(t, "for the second", string(sockettest.Next(t, others.Datagrams()).Data))
	require.Empty(t, others.Datagrams())
	require.Empty(t, replies.Datagrams())
}

func TestConnectInACallbackDoesNotWaitForItself(t *testing.T) {
	_, replies, done := third(t, func(c *udp.ConnectedConn, d udp.Datagram) {
		assert.NoError(t, d.Reply([]byte("kept")))
		peer := c.RemoteAddrPort()
		elsewhere(func() { c.Disconnect() })
		_, err := c.Connect(peer)
		assert.NoError(t, err)
	})
	sockettest.Next(t, done)
	require.Equal(t, "kept", string(sockettest.Next(t, replies.Datagrams()).Data))
}

// again responds to each refusal with another datagram to the same dead peer.
type again struct{ udp.BaseHandler }

func (again) Refused(c *udp.Conn, r *udp.Refusal) {
	if connected, ok := c.Connected(); ok {
		connected.Send(r.Payload)
	}
}

func TestShutdownEndsThoughRefusedSendsAgain(t *testing.T) {
	c := sockettest.Dial(t, sockettest.DeadPort(t, "udp4"), again{})
	require.NoError(t, c.Send([]byte("x")))
	require.NoError(t, c.Shutdown(t.Context()))
}
