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
	"github.com/udpkit/udp/internal/goid"
	"github.com/udpkit/udp/internal/socket"
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

// Whatever lies where, what leaves is what was given, in order.
func TestABatchOfAnyLayoutArrivesWholeAndInOrder(t *testing.T) {
	q := udp.NewQueue(4096, udp.Block)
	r, err := udp.Config{ReadBuffer: 8 << 20}.Listen(t.Context(), "udp4", "127.0.0.1:0", q)
	require.NoError(t, err)
	defer r.Close()
	s, err := udp.Config{WriteBuffer: 8 << 20}.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer s.Close()
	together := 100
	if r.Info().ReadBuffer < 4<<20 {
		together = 18 // of 5,000 bytes, for which the kernel charges 8 KiB at least
	}
	var number uint32
	for name, sizes := range map[string][]int{
		"short":          {40},
		"of a frame":     {1200},
		"long":           {5000},
		"last shorter":   {1200, 1200, 1200, 7},
		"every size":     {4, 5000, 5000, 1200, 1200, 40, 40, 40, 39, 40, 4096, 4096, 4097, 4097, 0, 0, 8},
		"one buffer out": {4000},
	} {
		for layout, place := range map[string]func(all []byte, i, at, n int) []byte{
			"side by side":          func(all []byte, _, at, n int) []byte { return all[at : at+n] },
			"side by side, bounded": func(all []byte, _, at, n int) []byte { return all[at : at+n : at+n] },
			"a buffer each":         func(_ []byte, _, _, n int) []byte { return make([]byte, n) },
			"in pairs": func(all []byte, i, at, n int) []byte {
				if i%4 < 2 {
					return all[at : at+n]
				}
				return make([]byte, n)
			},
			"apart at the end": func(all []byte, i, at, n int) []byte {
				if i < 99 {
					return all[at : at+n]
				}
				return make([]byte, n)
			},
			"apart after some": func(all []byte, i, at, n int) []byte {
				if i%9 < 8 {
					return all[at : at+n]
				}
				return make([]byte, n, n+100)
			},
		} {
			t.Run(name+", "+layout, func(t *testing.T) {
				all, at := make([]byte, 1<<20), 0
				ms := make([]udp.Message, 100)
				var want [][]byte
				for i := range ms {
					n := sizes[i%len(sizes)]
					b := place(all, i, at, n)
					at += n
					for j := range b {
						b[j] = byte(int(number) + j)
					}
					if n >= 4 {
						number++
						binary.BigEndian.PutUint32(b, number)
					}
					ms[i] = udp.Message{Data: b, To: r.LocalAddrPort()}
					want = append(want, bytes.Clone(b))
				}
				for len(ms) > 0 {
					n := min(len(ms), together)
					sent, err := s.SendBatch(ms[:n])
					require.NoError(t, err)
					require.Equal(t, n, sent)
					for i := range n {
						d := next(t, q.Datagrams())
						require.True(t, bytes.Equal(want[i], d.Data), "datagram %d: %d bytes of %d", i, len(d.Data), len(want[i]))
						d.Release()
					}
					ms, want = ms[n:], want[n:]
				}
			})
		}
	}
}

func TestABatchIsCopiedOnlyToMakeATrainOfShortDatagrams(t *testing.T) {
	all, apart := make([]byte, 90_000), make([]byte, 30_000)
	var many [][]byte // more than a buffer can hold
	for at := 0; at < len(all); at += 1000 {
		many = append(many, all[at:at+1000])
	}
	for name, test := range map[string]struct {
		data   [][]byte
		copied []bool // of the messages that leave
		trains []int  // their datagrams' length, 0 if one alone
	}{
		"one":                      {[][]byte{all[:10]}, []bool{false}, []int{0}},
		"side by side":             {[][]byte{all[:10], all[10:20], all[20:25]}, []bool{false}, []int{10}},
		"long ones side by side":   {[][]byte{all[:9000], all[9000:18000]}, []bool{false}, []int{9000}},
		"apart":                    {[][]byte{all[:10], apart[:10]}, []bool{true}, []int{10}},
		"long ones apart":          {[][]byte{all[:9000], apart[:9000]}, []bool{false, false}, []int{0, 0}},
		"the second half apart":    {[][]byte{all[:10], all[10:20], apart[:10]}, []bool{true}, []int{10}},
		"very many, one apart":     {append(many, apart[:1000]), []bool{false, false}, []int{1000, 0}},
		"different lengths, apart": {[][]byte{all[:10], apart[:20]}, []bool{false, false}, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted()
			s.segments = 64
			var copied []bool
			var trains []int
			var bytesSent, bytesGiven int
			s.send = func(m socket.Message) error {
				bytesSent += len(m.Data)
				copied = append(copied, &m.Data[0] != &all[0] && &m.Data[0] != &apart[0])
				trains = append(trains, m.Segment)
				return nil
			}
			c := s.listen(t, udp.Config{}, udp.BaseHandler{})
			defer c.Close()
			ms := make([]udp.Message, len(test.data))
			for i, b := range test.data {
				ms[i] = udp.Message{Data: b, To: there}
				bytesGiven += len(b)
			}
			n, err := c.SendBatch(ms)
			require.NoError(t, err)
			require.Equal(t, len(ms), n)
			require.Equal(t, bytesGiven, bytesSent)
			require.Equal(t, test.copied, copied)
			require.Equal(t, test.trains, trains)
		})
	}
}
