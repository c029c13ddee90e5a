package udp_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// However much waits when a socket is closed, it is counted.
func TestCloseCountsALongQueue(t *testing.T) {
	const segment, n = 64, 300_000 / 64 * 64
	gate, in := make(chan struct{}), make(chan struct{}, segment)
	var hold atomic.Bool
	c := sockettest.Listen(t, udp.Config{ReadBuffer: 32 << 20}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		if !hold.Load() {
			return
		}
		select {
		case in <- struct{}{}:
		default:
		}
		<-gate
	}))
	sender := sockettest.Dial(t, c.LocalAddrPort(), udp.BaseHandler{})
	if !c.Info().GRO || sender.Info().Segments < segment || c.Info().ReadBuffer < 32<<20 {
		t.Skip("no segments here, or no room for them")
	}
	ms := make([]udp.Message, segment)
	for i := range ms {
		ms[i].Data = []byte("x")
	}
	send := func() {
		sent, err := sender.SendBatch(ms)
		require.NoError(t, err)
		require.Equal(t, segment, sent)
	}
	const first = 32 // sends, after which the socket asks for coalesced packets
	for i := range uint64(first) {
		send()
		for c.Stats().Handled < (i+1)*segment {
			runtime.Gosched()
		}
	}
	hold.Store(true)
	for range n / segment {
		send()
	}
	sockettest.Next(t, in)
	require.Zero(t, c.Stats().KernelDrops)
	require.NoError(t, c.Close())
	close(gate)
	sockettest.Next(t, c.Done())
	require.EqualValues(t, n+first*segment, c.Stats().Received)
	require.EqualValues(t, n-1, c.Stats().Dropped.Closed)
}

// A program may lock its sockets' filters. Then what arrives while a socket is
// being shut down can't be kept out, but Shutdown ends.
func TestShutdownEndsWhenTheFilterIsLocked(t *testing.T) {
	all := [1]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff}}
	cfg := udp.Config{Control: func(_, _ string, rc syscall.RawConn) (err error) {
		rc.Control(func(fd uintptr) {
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &all[0]})
			if err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1)
			}
		})
		return err
	}}
	// Each is answered with another one to the same socket, so there is always more.
	c := sockettest.Listen(t, cfg, "udp4", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		c.SendTo(d.Data, c.LocalAddrPort())
	}))
	flood := sockettest.ListenNet(t, "udp4")
	const sent = 200 // more than one read takes
	for range sent {
		_, err := flood.WriteToUDPAddrPort([]byte("x"), c.LocalAddrPort())
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), sockettest.Patience)
	defer cancel()
	require.NoError(t, c.Shutdown(ctx))
	require.GreaterOrEqual(t, c.Stats().Handled, uint64(sent))
}
