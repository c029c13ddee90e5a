//lint:file-ignore SA1019 Programs still use what the library deprecates.

package ecosystem

import (
	"bytes"
	"io"
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
