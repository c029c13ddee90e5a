package udptest_test

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func TestAPausedHostReadsAndSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		var got []time.Duration
		began := time.Now()
		s := listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got = append(got, time.Since(began)) }))
		replies := 0
		c := dial(t, on(a), "udp", "b:7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { replies++ }))

		b.Pause()
		for range 3 {
			require.NoError(t, c.Send(make([]byte, 10)))
		}
		sent := make(chan error, 1)
		go func() { sent <- s.SendTo(nil, c.LocalAddrPort()) }()
		n.Settle()
		require.Empty(t, got)
		require.Zero(t, replies)
		time.Sleep(time.Second - time.Since(began))
		b.Resume()
		n.Settle()
		require.Equal(t, []time.Duration{time.Second, time.Second, time.Second}, got, "they waited in the receive buffer")
		require.NoError(t, <-sent)
		require.Equal(t, 1, replies)
		require.Zero(t, s.Stats().KernelDrops)

		b.Pause()
		for range 1000 {
			require.NoError(t, c.Send(make([]byte, 1000)))
		}
		n.Settle()
		b.Resume()
		n.Settle()
		require.Equal(t, 1003, len(got)+int(s.Stats().KernelDrops))
		require.Positive(t, s.Stats().KernelDrops, "the receive buffer has overflowed")
	})
}

func TestASendOfAPausedHostEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a := n.Host("a", "10.0.0.1")
		c := dial(t, on(a), "udp", "10.0.0.2:7", udp.BaseHandler{})
		a.Pause()
		began := time.Now()
		require.NoError(t, c.SetWriteDeadline(began.Add(time.Minute)))
		require.ErrorIs(t, c.Send(nil), os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
	})
}

// What is queued when a Shutdown begins is read after the pause.
func TestAPausedHostShutsDownWhenItResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		got := 0
		s := listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got++ }))
		c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		b.Pause()
		require.NoError(t, c.Send(nil))
		n.Settle()
		ended := make(chan error, 1)
		go func() { ended <- s.Shutdown(context.Background()) }()
		n.Settle()
		require.Empty(t, ended)
		b.Resume()
		require.NoError(t, <-ended)
		require.Equal(t, 1, got)
	})
}

func TestAPausedSocketCanBeClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		s := listen(t, on(b), "udp", ":7", udp.BaseHandler{})
		c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		b.Pause()
		require.NoError(t, c.Send(nil))
		n.Settle()
		require.NoError(t, s.Close())
		<-s.Done()
	})
}
