package main

import (
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
	"github.com/udpkit/udp/udptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// export makes an export with n records of 10 packets and 1,000 bytes.
func export(engine uint8, sequence uint32, n int) []byte {
	b := make([]byte, headerSize+n*recordSize)
	binary.BigEndian.PutUint16(b, 5)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint32(b[16:], sequence)
	b[21] = engine
	for i := range n {
		binary.BigEndian.PutUint32(b[headerSize+i*recordSize+16:], 10)
		binary.BigEndian.PutUint32(b[headerSize+i*recordSize+20:], 1000)
	}
	return b
}

func TestNetflowAddsUp(t *testing.T) {
	p := program.Run(t, func(ctx context.Context, stdout io.Writer) error {
		return run(ctx, []string{"-listen", "127.0.0.1:0", "-every", "1h", "-sockets", "2"}, stdout, udp.Config{})
	})
	addr := p.Line(`^listening on (\S+) with \d sockets$`)[1]
	c, err := udp.Dial(t.Context(), "udp", addr, udp.BaseHandler{})
	require.NoError(t, err)
	defer c.Close()
	wrong := export(1, 7, 2)
	for _, b := range [][]byte{
		export(1, 100, 2), export(1, 102, 30), export(1, 142, 1), // 132 to 141 are missing
		export(2, 1<<32-1, 1), export(2, 0, 1), // numbers wrap around
		nil, wrong[:50], wrong[:headerSize], append(wrong, 1), export(1, 7, 0), export(1, 7, 31), make([]byte, 100),
	} {
		require.NoError(t, c.Send(b))
	}
	rest := p.Stop()
	require.NoError(t, p.Err())
	require.Len(t, rest, 3)
	require.ElementsMatch(t, []string{
		"127.0.0.1 engine 1: 3 exports, 33 flows, 10 lost, 330 packets, 33000 bytes",
		"127.0.0.1 engine 2: 2 exports, 2 flows, 0 lost, 20 packets, 2000 bytes",
	}, rest[:2])
	require.Contains(t, rest[2], "received=12 ")
	require.Contains(t, rest[2], "dropped_handler=7")
}

func TestNetflowBoundsItsTable(t *testing.T) {
	col := &collector{exporters: make(map[exporter]*totals)}
	for i := range uint32(maxExporters + 10) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], i)
		col.Received(nil, udp.Datagram{Data: export(0, 0, 1), From: netip.AddrPortFrom(netip.AddrFrom4(a), 1)})
	}
	require.Len(t, col.exporters, maxExporters)
}

func TestNetflowWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{{"-x"}, {"-every", "0"}, {"-sockets", "257"}, {"-listen", "nowhere"}, {":2055"}} {
		require.Error(t, run(t.Context(), args, io.Discard, udp.Config{}), "%v", args)
	}
}

func FuzzExport(f *testing.F) {
	f.Add(export(1, 7, 3))
	f.Add(export(0, 0, maxRecords))
	f.Add([]byte{0, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		col := &collector{exporters: map[exporter]*totals{}}
		d := udptest.Datagram(udptest.Header{From: netip.MustParseAddrPort("192.0.2.1:9995")}, b)
		col.Received(nil, d)
		counted := &totals{}
		if e := col.exporters[exporterOf(d)]; e != nil {
			counted = e
		}
		// An export is counted once, with the records that it has, or not at all.
		require.Equal(t, uint64(len(col.exporters)), counted.exports)
		require.Equal(t, uint64(len(b)), counted.exports*headerSize+counted.flows*recordSize+uint64(len(b))*(1-counted.exports))
		require.Zero(t, counted.lost)
	})
}
