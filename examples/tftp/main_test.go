package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves a directory of its own.
func start(t *testing.T, flags ...string) (dir, address string) {
	dir = t.TempDir()
	p := program.Run(t, func(ctx context.Context, stdout io.Writer) error {
		return run(ctx, append(append([]string{"-listen", "127.0.0.1:0"}, flags...), dir), stdout, udp.Config{})
	})
	return dir, p.Line(`^listening on (\S+)$`)[1]
}

func content(n int) []byte { return bytes.Repeat([]byte("0123456789abcde\n"), n/16+1)[:n] }

func dial(t *testing.T, address string) net.Conn {
	c, err := net.Dial("udp", address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c
}

func transmit(t *testing.T, c net.Conn, packet string) {
	_, err := c.Write([]byte(packet))
	require.NoError(t, err)
}

func read(t *testing.T, c net.Conn) []byte {
	b := make([]byte, 1000)
	n, err := c.Read(b)
	require.NoError(t, err)
	return b[:n]
}

func TestGet(t *testing.T) {
	dir, address := start(t)
	for _, size := range []int{0, 1, 511, 512, 5000} {
		want := content(size)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), want, 0o600))
		c := dial(t, address)
		transmit(t, c, "\x00\x01file\x00octet\x00")
		got := []byte{}
		for block := uint16(1); ; block++ {
			in := read(t, c)
			require.Equal(t, []byte{0, opData, byte(block >> 8), byte(block)}, in[:4])
			got = append(got, in[4:]...)
			if block == 1 && size == 5000 { // the acknowledgment is lost
				require.Equal(t, in, read(t, c))
			}
			transmit(t, c, string(binary.BigEndian.AppendUint32(nil, opAck<<16|uint32(block))))
			if len(in) < 4+512 {
				break
			}
		}
		require.Equal(t, want, got)
	}
}

func TestPut(t *testing.T) {
	dir, address := start(t, "-write")
	c := dial(t, address)
	transmit(t, c, "\x00\x02new\x00octet\x00")
	require.Equal(t, []byte{0, opAck, 0, 0}, read(t, c))
	want := content(700)
	transmit(t, c, "\x00\x03\x00\x01"+string(want[:512]))
	require.Equal(t, []byte{0, opAck, 0, 1}, read(t, c))
	transmit(t, c, "\x00\x03\x00\x02"+string(want[512:]))
	require.Equal(t, []byte{0, opAck, 0, 2}, read(t, c))
	got, err := os.ReadFile(filepath.Join(dir, "new"))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestWhatIsRefused(t *testing.T) {
	dir, address := start(t)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "outside"), nil, 0o600))
	for request, code := range map[string]byte{
		"\x00\x01nothing\x00octet\x00": 1, "\x00\x01../outside\x00octet\x00": 0, "\x00\x02new\x00octet\x00": 2,
	} {
		c := dial(t, address)
		transmit(t, c, request)
		require.Equal(t, []byte{0, opError, 0, code}, read(t, c)[:4], "%q", request)
	}
	dir, address = start(t, "-write")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "old"), nil, 0o600))
	c := dial(t, address)
	transmit(t, c, "\x00\x02old\x00octet\x00")
	require.Equal(t, []byte{0, opError, 0, 6}, read(t, c)[:4], "a file that exists")
	require.Error(t, run(t.Context(), nil, io.Discard, udp.Config{}), "no directory")
}

func TestCurl(t *testing.T) {
	program.Need(t, "curl")
	dir, address := start(t, "-write")
	want := content(100_000)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), want, 0o600))
	copied, sent := filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "sent")
	get := program.Start(t, nil, "curl", "-sS", "-o", copied, fmt.Sprintf("tftp://%s/file", address))
	require.Empty(t, get.Rest())
	require.NoError(t, get.Err())
	got, err := os.ReadFile(copied)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))

	require.NoError(t, os.WriteFile(sent, want, 0o600))
	put := program.Start(t, nil, "curl", "-sS", "-T", sent, fmt.Sprintf("tftp://%s/put", address))
	require.Empty(t, put.Rest())
	require.NoError(t, put.Err())
	got, err = os.ReadFile(filepath.Join(dir, "put"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}
