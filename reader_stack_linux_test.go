//go:build !race && !udpbasic

package udp_test

import (
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// A reader that has called a small Handler waits on the smallest stack that the runtime makes,
// 2 KiB. It never shrinks to that once it was longer. The race detector's is longer.
//
// The test has a process of its own, since the runtime makes the stacks of new
// goroutines as long as those of old ones have become. It has one processor, as each has a
// part of packetPool: a reader that finds it empty allocates, which takes a longer stack.
func TestIdleReadersHaveSmallStacks(t *testing.T) {
	const child = "UDP_TEST_STACKS"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=5m", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1", "GODEBUG=adaptivestackstart=0", "GOMAXPROCS=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	const sockets = 500
	inuse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.StackInuse
	}
	before := inuse()
	var received atomic.Int32
	all := make(chan struct{})
	h := udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		if received.Add(1) == sockets {
			close(all)
		}
	})
	conns := make([]*udp.Conn, sockets)
	for i := range conns {
		conns[i] = sockettest.Listen(t, udp.Config{}, "udp4", h)
	}
	for _, c := range conns {
		require.NoError(t, conns[0].SendTo([]byte("x"), c.LocalAddrPort()))
	}
	sockettest.Next(t, all)
	require.Less(t, inuse(), before+sockets*3<<10)
}
