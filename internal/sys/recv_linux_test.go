//go:build !udpbasic

package sys

import (
	"net"
	"runtime"
	"syscall"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// UDP_GRO is switched on for datagrams of one sender whatever an earlier socket of
// the other family has left in the batch.
func TestOneSenderIsRecognizedInAUsedBatch(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	if c.path.gro.state.Load() != groWanted {
		t.Skip("no UDP_GRO here")
	}
	sender, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(c.Local()))
	require.NoError(t, err)
	defer sender.Close()
	for range 2 * minRun {
		_, err = sender.Write([]byte("datagram"))
		require.NoError(t, err)
	}
	r := &receiver{conn: c, slots: 2 * minRun, batch: new(batch)}
	for i := range r.batch.names {
		r.batch.names[i].Addr[15] = byte(i) // behind an IPv4 address
	}
	c.rc.Control(func(fd uintptr) {
		n, errno := r.read(fd)
		require.Zero(t, errno)
		require.Equal(t, 2*minRun, n)
		r.unpack(n)
	})
	r.giveBack()
	require.Equal(t, groOn, c.path.gro.state.Load())
}

// A batch that has read into many buffers does not keep them when it is used for
// fewer, or not at all.
func TestABatchForgetsItsBuffers(t *testing.T) {
	b := new(batch)
	r := &receiver{batch: b}
	b.prepare(maxBatch, cmsg.Space)
	var buffers []weak.Pointer[byte]
	for i := range maxBatch {
		buffers = append(buffers, weak.Make(&b.bufs[i].B[0]))
	}
	r.giveBack()
	for range 4 { // a sync.Pool takes two collections
		runtime.GC()
		b.prepare(minBatch, cmsg.Space)
		r.batch = b
		r.giveBack()
	}
	held := 0
	for _, w := range buffers {
		if w.Value() != nil {
			held++
		}
	}
	runtime.KeepAlive(b)
	require.LessOrEqual(t, held, minBatch)
}

// In QEMU's emulator of a processor a signal ends a recvmmsg before the queue is empty. A
// drain that took this for the end would discard the rest, and a wait would not end.
func TestAReadThatASignalEndsIsNotTheLast(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	c.path.partial = true
	c.path.recvmmsg = func(fd uintptr, hs []mmsghdr, raw bool) (int, syscall.Errno) {
		return recvmmsg(fd, hs[:1], raw)
	}
	sender, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(c.Local()))
	require.NoError(t, err)
	defer sender.Close()
	const sent = 5
	for range sent {
		_, err = sender.Write([]byte("datagram"))
		require.NoError(t, err)
	}
	c.Wake()
	s := new(drainingSink)
	require.NoError(t, c.Serve(s))
	require.Equal(t, sent, s.packets)
}
