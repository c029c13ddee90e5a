//lint:file-ignore SA1019 Programs still use what the library deprecates.

package ecosystem

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/xtaci/kcp-go/v5"
)

// kcp-go starts its clock and its scheduler with the program, outside of every bubble, so it
// runs in real time only. On Linux it reads and writes the descriptor by x/net/ipv4.
func TestKCP(t *testing.T) {
	onKernel(t, func(t *testing.T, server, client place) {
		pc, cc := server.listen(t), client.listen(t)
		defer pc.Close()
		defer cc.Close()
		l, err := kcp.ServeConn(nil, 0, 0, pc)
		require.NoError(t, err)
		defer l.Close()
		got := make(chan []byte, 1)
		go func() {
			s, err := l.AcceptKCP()
			if !assert.NoError(t, err) {
				return
			}
			s.SetStreamMode(true)
			b := make([]byte, megabytes)
			_, err = io.ReadFull(s, b)
			assert.NoError(t, err)
			got <- b
			assert.NoError(t, s.Close())
		}()
		s, err := kcp.NewConn2(pc.LocalAddr(), nil, 0, 0, cc)
		require.NoError(t, err)
		s.SetStreamMode(true)
		s.SetNoDelay(1, 10, 2, 1)
		s.SetWindowSize(256, 256)
		sent := pattern(megabytes)
		_, err = s.Write(sent)
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent, <-got), "what arrived differs from what was sent")
		require.NoError(t, s.Close())
	})
}

// BenchmarkKCP sends 16 MiB. kcp-go reads and writes the descriptor of every conn that has one,
// by x/net. With the three lines that package patchkcp adds to it, it calls ReadBatch and
// WriteBatch of the conn:
//
//	go test -run '^$' -bench KCP -benchtime 9x -modfile "$(go run ./patchkcp)"
func BenchmarkKCP(b *testing.B) {
	sent := pattern(8 * megabytes)
	over := func(listen func(*testing.B) net.PacketConn) contenderFunc {
		return func(b *testing.B) cost {
			s, c := listen(b), listen(b)
			defer s.Close()
			defer c.Close()
			return measured(b, func() { transferKCP(b, s, c, sent) })
		}
	}
	compare(b, contender{"net", over(netConn)}, contender{"udp", over(udpConn)})
}

// transferKCP sends bytes from one conn to another.
func transferKCP(b *testing.B, server, client net.PacketConn, sent []byte) {
	b.Helper()
	l, err := kcp.ServeConn(nil, 0, 0, server)
	require.NoError(b, err)
	defer l.Close()
	got := make(chan []byte, 1)
	go func() {
		s, err := l.AcceptKCP()
		if !assert.NoError(b, err) {
			return
		}
		tuneKCP(s)
		all := make([]byte, len(sent))
		_, err = io.ReadFull(s, all)
		assert.NoError(b, err)
		got <- all
		assert.NoError(b, s.Close())
	}()
	s, err := kcp.NewConn2(server.LocalAddr(), nil, 0, 0, client)
	require.NoError(b, err)
	tuneKCP(s)
	_, err = s.Write(sent)
	require.NoError(b, err)
	require.True(b, bytes.Equal(sent, <-got), "what arrived differs from what was sent")
	require.NoError(b, s.Close())
}

func tuneKCP(s *kcp.UDPSession) {
	s.SetStreamMode(true)
	s.SetNoDelay(1, 10, 2, 1)
	s.SetWindowSize(1024, 1024)
	s.SetACKNoDelay(true)
}
