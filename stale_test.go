package udp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// The kernel stops a batch at a datagram that meets an older one's error, and
// the error is gone with that.
func TestARefusalInTheMiddleOfABatchIsTold(t *testing.T) {
	live, dead := listen(t, udp.Config{}, "udp4", udp.BaseHandler{}), deadPort(t, "udp4")
	for range 50 {
		q := udp.NewQueue(1, udp.DropNewest)
		c, err := udp.Config{PeerErrors: true}.Listen(t.Context(), "udp4", "127.0.0.1:0", q)
		if err != nil {
			t.Skip(err)
		}
		n, err := c.SendBatch([]udp.Message{{Data: []byte("a"), To: dead}, {Data: []byte("b"), To: live.LocalAddrPort()}})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, dead, (<-q.Refusals()).Peer)
		require.NoError(t, c.Close())
	}
}

// Switching the error queue off empties it.
func TestARefusalIsToldAlthoughTheSocketDisconnects(t *testing.T) {
	dead := deadPort(t, "udp4")
	for range 50 {
		q := udp.NewQueue(1, udp.DropNewest)
		c := listen(t, udp.Config{}, "udp4", q)
		if !c.Info().ErrorQueue {
			t.Skip("disconnecting takes the error away here")
		}
		connected, err := c.Connect(dead)
		require.NoError(t, err)
		require.NoError(t, connected.Send([]byte("x")))
		_, err = connected.Disconnect()
		require.NoError(t, err)
		require.Equal(t, dead, (<-q.Refusals()).Peer)
		require.NoError(t, c.Close())
	}
}

// third is a connected socket whose handler calls f for the third datagram, when
// others of the same read still wait, so that what it sends is gathered.
func third(t *testing.T, f func(c *udp.ConnectedConn)) (peer *udp.Conn, replies *udp.Queue, done chan struct{}) {
	replies = udp.NewQueue(100, udp.Block)
	peer = listen(t, udp.Config{}, "udp4", replies)
	entered, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	n := 0
	c := listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		switch n++; n {
		case 1:
			close(entered)
			<-release
		case 3:
			connected, _ := c.Connected()
			f(connected)
			close(done)
		}
	}))
	_, err := c.Connect(peer.LocalAddrPort())
	require.NoError(t, err)
	for i := range 20 {
		require.NoError(t, peer.SendTo([]byte("hello"), c.LocalAddrPort()))
		if i == 0 {
			<-entered
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

func TestWhatWasGatheredForOnePeerNeverReachesAnother(t *testing.T) {
	others := udp.NewQueue(100, udp.Block)
	other := listen(t, udp.Config{}, "udp4", others)
	_, replies, done := third(t, func(c *udp.ConnectedConn) {
		if err := c.Send([]byte("for the first")); err != nil {
			t.Error(err)
		}
		elsewhere(func() {
			if err := c.Reconnect(other.LocalAddrPort()); err != nil {
				t.Error(err)
			}
		})
		if err := c.Send([]byte("for the second")); err != nil {
			t.Error(err)
		}
	})
	<-done
	require.Equal(t, "for the first", string((<-replies.Datagrams()).Data))
	require.Equal(t, "for the second", string((<-others.Datagrams()).Data))
	require.Empty(t, others.Datagrams())
}

func TestConnectInACallbackDoesNotWaitForItself(t *testing.T) {
	_, replies, done := third(t, func(c *udp.ConnectedConn) {
		if err := c.Send([]byte("gathered")); err != nil {
			t.Error(err)
		}
		peer := c.RemoteAddrPort()
		elsewhere(func() { c.Disconnect() })
		if _, err := c.Connect(peer); err != nil {
			t.Error(err)
		}
	})
	<-done
	require.Equal(t, "gathered", string((<-replies.Datagrams()).Data))
}

// again answers each refusal with another datagram to the same dead peer.
type again struct{ udp.BaseHandler }

func (again) Refused(c *udp.Conn, r *udp.Refusal) {
	if connected, ok := c.Connected(); ok {
		connected.Send(r.Payload)
	}
}

func TestShutdownEndsThoughRefusedSendsAgain(t *testing.T) {
	c := dial(t, deadPort(t, "udp4"), again{})
	require.NoError(t, c.Send([]byte("x")))
	require.NoError(t, c.Shutdown(t.Context()))
}

func TestADatagramInTwoQueuesIsHandledOnce(t *testing.T) {
	first, other := udp.NewQueue(10, udp.DropNewest), udp.NewQueue(10, udp.DropNewest)
	all := make(chan struct{})
	n := 0
	c := listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		first.Received(c, d)
		other.Received(c, d)
		if n++; n == 3 {
			close(all)
		}
	}))
	s := raw(t, "udp4")
	for range 3 {
		_, err := s.WriteToUDPAddrPort([]byte("x"), c.LocalAddrPort())
		require.NoError(t, err)
	}
	<-all
	require.NoError(t, c.Close())
	require.EqualValues(t, 3, c.Stats().Handled)
	for range 3 {
		(<-first.Datagrams()).Release()
		(<-other.Datagrams()).Release()
	}
}
