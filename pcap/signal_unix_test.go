//go:build unix

package pcap_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/pcap"
)

func TestDumpOnASignal(t *testing.T) {
	capture := pcap.New(pcap.Config{})
	dir := t.TempDir()
	paths := make(chan string, 1)
	stop := capture.DumpOn(dir, func(path string, err error) {
		if err != nil {
			t.Error(err)
		}
		paths <- path
	}, syscall.SIGUSR1)
	defer stop()
	c := listen(t, udp.Config{Trace: capture.Trace()}, "udp4", "127.0.0.1:0", fickle)
	require.NoError(t, c.SendTo([]byte("before the signal"), netip.MustParseAddrPort("127.0.0.1:9")))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	path := <-paths
	require.Equal(t, dir, filepath.Dir(path))
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	require.Equal(t, "before the signal", frames(t, file)[0].data)
	stop()
	stop()
}
