package udp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// held is a server whose handler waits at the first datagram until go is
// closed, so that all that was sent meanwhile comes with the next read.
func held(t *testing.T, cfg udp.Config, received func(c *udp.Conn, d udp.Datagram)) (server *udp.Conn, entered, release chan struct{}) {
	t.Helper()
	entered, release = make(chan struct{}), make(chan struct{})
	first := true
	server, err := cfg.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		if first {
			first = false
			close(entered)
			<-release
			return
		}
		received(c, d)
	}))
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	return server, entered, release
}

func plainClient(t *testing.T, server *udp.Conn) *net.UDPConn {
	t.Helper()
	client, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(server.LocalAddrPort()))
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

func TestRepliesOfOneReadLeaveInOrderAndWhole(t *testing.T) {
	const n = 200
	scratch := make([]byte, 4)
	server, entered, release := held(t, udp.Config{}, func(c *udp.Conn, d udp.Datagram) {
		// The same memory for every reply: what was handed over must have been copied.
		copy(scratch, d.Data)
		if err := d.Reply(scratch); err != nil {
			t.Error(err)
		}
		clear(scratch)
	})
	client := plainClient(t, server)
	send := func(i uint32) {
		_, err := client.Write(binary.BigEndian.AppendUint32(nil, i))
		require.NoError(t, err)
	}
	send(0)
	<-entered
	for i := range uint32(n) {
		send(i)
	}
	close(release)
	got := make([]byte, 10)
	for i := range uint32(n) {
		k, err := client.Read(got)
		require.NoError(t, err)
		require.Equal(t, 4, k)
		require.Equal(t, i, binary.BigEndian.Uint32(got))
	}
	require.NoError(t, server.Close())
	require.EqualValues(t, n, server.Stats().Sent)
}

func TestOnlyTheCallbacksOwnSendsAreGathered(t *testing.T) {
	if !goid.Fast || !batching(t) {
		t.Skip("nothing is gathered here")
	}
	sentByOther, own := make(chan struct{}), make(chan uint64, 3)
	server, entered, release := held(t, udp.Config{}, func(c *udp.Conn, d udp.Datagram) {
		if string(d.Data) != "first" {
			return
		}
		if err := d.Reply([]byte("gathered")); err != nil {
			t.Error(err)
		}
		own <- c.Stats().Sent // another datagram waits: not sent yet
		go func() {
			defer close(sentByOther)
			if err := c.SendTo([]byte("at once"), d.From); err != nil {
				t.Error(err)
			}
		}()
		<-sentByOther
		own <- c.Stats().Sent
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
		own <- c.Stats().Sent
	})
	client := plainClient(t, server)
	for i, s := range []string{"hold", "first", "second"} {
		_, err := client.Write([]byte(s))
		require.NoError(t, err)
		if i == 0 {
			<-entered
		}
	}
	close(release)
	require.EqualValues(t, 0, <-own)
	require.EqualValues(t, 1, <-own)
	require.EqualValues(t, 2, <-own)
	b := make([]byte, 20)
	for _, want := range []string{"at once", "gathered"} {
		n, err := client.Read(b)
		require.NoError(t, err)
		require.Equal(t, want, string(b[:n]))
	}
}

// batching says whether several datagrams come with one read here.
func batching(t *testing.T) bool {
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer c.Close()
	return c.Info().Batch > 1
}

func TestTheLastReplyOfAReadDoesNotWaitForItsHandler(t *testing.T) {
	replied, finish := make(chan error), make(chan struct{})
	server, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		replied <- d.Reply(d.Data)
		<-finish
	}))
	require.NoError(t, err)
	defer server.Close()
	client := plainClient(t, server)
	_, err = client.Write([]byte("now"))
	require.NoError(t, err)
	require.NoError(t, <-replied)
	require.NoError(t, client.SetReadDeadline(time.Now().Add(patience)))
	n, err := client.Read(make([]byte, 10))
	require.NoError(t, err, "the reply must have left although the handler still runs")
	require.Equal(t, 3, n)
	close(finish)
}

func TestRepliesDoNotWaitForAFullQueue(t *testing.T) {
	q := udp.NewQueue(1, udp.Block)
	server, entered, release := held(t, udp.Config{}, func(c *udp.Conn, d udp.Datagram) {
		if err := d.Reply(d.Data); err != nil {
			t.Error(err)
		}
		q.Received(c, d)
	})
	client := plainClient(t, server)
	for i, s := range []string{"hold", "one", "two", "three", "four"} {
		_, err := client.Write([]byte(s))
		require.NoError(t, err)
		if i == 0 {
			<-entered
		}
	}
	close(release)
	require.NoError(t, client.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 20)
	for _, want := range []string{"one", "two", "three", "four"} {
		n, err := client.Read(b)
		require.NoError(t, err)
		require.Equal(t, want, string(b[:n]))
		if want != "one" { // nobody has taken a datagram before the second was answered
			d := <-q.Datagrams()
			d.Release()
		}
	}
	require.NoError(t, server.Close())
}

func TestWhatWasGatheredLeavesBeforeCloseInACallback(t *testing.T) {
	server, entered, release := held(t, udp.Config{}, func(c *udp.Conn, d udp.Datagram) {
		if err := d.Reply(d.Data); err != nil {
			t.Error(err)
		}
		c.Close()
	})
	client := plainClient(t, server)
	for i, s := range []string{"hold", "answered", "too late"} {
		_, err := client.Write([]byte(s))
		require.NoError(t, err)
		if i == 0 {
			<-entered
		}
	}
	close(release)
	b := make([]byte, 20)
	n, err := client.Read(b)
	require.NoError(t, err)
	require.Equal(t, "answered", string(b[:n]))
	<-server.Done()
	s := server.Stats()
	require.EqualValues(t, 1, s.Sent)
	require.EqualValues(t, 1, s.Dropped.Closed)
	require.Equal(t, s.Received, s.Handled+s.Dropped.Total())
}

func TestAGatheredDatagramsErrorIsNeverAnothers(t *testing.T) {
	if !batching(t) {
		t.Skip("nothing is gathered here")
	}
	var told, logged bytes.Buffer
	cfg := udp.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}
	server, entered, release := held(t, cfg, func(c *udp.Conn, d udp.Datagram) {
		var err error
		if string(d.Data) == "bad" {
			// Broadcast is not allowed on this socket: EACCES when it leaves.
			err = c.SendTo(d.Data, netipAddrPort("255.255.255.255", d.From.Port()))
		} else {
			err = d.Reply(d.Data)
		}
		if err != nil {
			fmt.Fprintf(&told, "%s ", d.Data)
		}
	})
	client := plainClient(t, server)
	// Whatever the reads are, those that fail are neither first nor last of theirs
	// alone: each of the five meets every place.
	var want []string
	for i := range 64 {
		s := "good"
		if i%5 == 2 {
			s = "bad"
		} else if i > 0 {
			want = append(want, s)
		}
		_, err := client.Write([]byte(s))
		require.NoError(t, err)
		if i == 0 {
			<-entered
		}
	}
	close(release)
	b := make([]byte, 20)
	for range want {
		n, err := client.Read(b)
		require.NoError(t, err)
		require.Equal(t, "good", string(b[:n]))
	}
	require.NoError(t, server.Shutdown(t.Context()))
	require.NotContains(t, told.String(), "good", "what was sent was told to have failed")
	require.EqualValues(t, len(want), server.Stats().Sent)
	require.EqualValues(t, 13, server.Stats().SendErrors)
	require.Contains(t, logged.String(), "send failed")
}

func netipAddrPort(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}
