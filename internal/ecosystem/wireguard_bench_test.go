package ecosystem

import (
	"encoding/binary"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/udpkit/udp"
)

// A batchTUN is a device that reads and writes many packets at a time, as that of Linux does.
type batchTUN struct {
	packet  []byte   // that Read returns
	out     chan int // how many times
	in      chan int // how many Write got
	events  chan tun.Event
	closed  chan struct{}
	closing sync.Once
}

func newBatchTUN(packet []byte) *batchTUN {
	t := &batchTUN{
		packet: packet, out: make(chan int), in: make(chan int, 1<<16),
		events: make(chan tun.Event, 1), closed: make(chan struct{}),
	}
	t.events <- tun.EventUp
	return t
}

func (t *batchTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case n := <-t.out:
		for i := range n {
			sizes[i] = copy(bufs[i][offset:], t.packet)
		}
		return n, nil
	case <-t.closed:
		return 0, os.ErrClosed
	}
}

func (t *batchTUN) Write(bufs [][]byte, _ int) (int, error) {
	t.in <- len(bufs)
	return len(bufs), nil
}

func (t *batchTUN) File() *os.File           { return nil }
func (t *batchTUN) MTU() (int, error)        { return 1420, nil }
func (t *batchTUN) Name() (string, error)    { return "batch", nil }
func (t *batchTUN) Events() <-chan tun.Event { return t.events }
func (t *batchTUN) BatchSize() int           { return conn.IdealBatchSize }

func (t *batchTUN) Close() error {
	t.closing.Do(func() {
		close(t.closed)
		close(t.events)
	})
	return nil
}

// BenchmarkWireGuard sends 50,000 packets of 1,400 bytes through a tunnel, of which 2,048 are on
// their way at a time.
func BenchmarkWireGuard(b *testing.B) {
	const packets, window, size = 50_000, 2048, 1400
	packet := make([]byte, size) // IPv4, from inside[0] to inside[1]
	packet[0] = 0x45
	binary.BigEndian.PutUint16(packet[2:], size)
	packet[8], packet[9] = 64, 17
	copy(packet[12:], inside[0].AsSlice())
	copy(packet[16:], inside[1].AsSlice())

	over := func(binds [2]conn.Bind) contenderFunc {
		from, to := newBatchTUN(packet), newBatchTUN(packet)
		end := tunnel(b, [2]string{"127.0.0.1", "127.0.0.1"}, binds, [2]tun.Device{from, to})
		b.Cleanup(end)
		from.out <- 1 // the handshake
		require.Equal(b, 1, <-to.in)
		return func(b *testing.B) cost {
			return measured(b, func() {
				sent, received := 0, 0
				for received < packets {
					for sent < packets && sent-received <= window-conn.IdealBatchSize {
						n := min(conn.IdealBatchSize, packets-sent)
						from.out <- n
						sent += n
					}
					received += <-to.in
				}
			})
		}
	}
	mine := func() conn.Bind {
		return &bind{at: place{Config: udp.Config{ReadBuffer: benchBuffer, WriteBuffer: benchBuffer}, addr: "127.0.0.1"}}
	}
	compare(b, contender{"net", over([2]conn.Bind{conn.NewStdNetBind(), conn.NewStdNetBind()})},
		contender{"udp", over([2]conn.Bind{mine(), mine()})})
}
