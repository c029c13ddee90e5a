package main

import (
	"context"
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, args ...string) *program.Program {
	t.Helper()
	return program.Run(t, func(ctx context.Context, stdout io.Writer) error {
		return run(ctx, args, stdout, udp.Config{})
	})
}

var echo = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply(d.Data) })

func TestClientPrintsEachReply(t *testing.T) {
	server, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", echo)
	require.NoError(t, err)
	defer server.Close()
	addr := server.LocalAddrPort().String()
	p := start(t, "-wait", "1m", addr, "hello", "", "grüße")
	for _, text := range []string{"hello", "", "grüße"} {
		p.Line(`^received "` + text + `" from ` + addr)
	}
	require.Empty(t, p.Rest())
	require.NoError(t, p.Err())
}

func TestClientTriesAgainUntilSomebodyListens(t *testing.T) {
	// A connected socket refuses everybody but its peer, and keeps its port.
	server, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", echo)
	require.NoError(t, err)
	defer server.Close()
	busy, err := server.Connect(netip.MustParseAddrPort("127.0.0.1:9"))
	require.NoError(t, err)

	p := start(t, "-wait", "5ms", "-tries", "100000", server.LocalAddrPort().String(), "hello")
	p.Line(`^nobody listens: .*refused`)
	p.Line(`^nobody listens: .*refused`)
	_, err = busy.Disconnect()
	require.NoError(t, err)
	p.Line(`^received "hello"`)
	p.Rest()
	require.NoError(t, p.Err())
}

func TestClientGivesUp(t *testing.T) {
	silent, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer silent.Close()
	p := start(t, "-wait", "1ms", "-tries", "3", silent.LocalAddrPort().String(), "hello")
	p.Rest()
	require.ErrorContains(t, p.Err(), `no reply to "hello", sent 3 times`)

	p = start(t, "-wait", "1h", silent.LocalAddrPort().String(), "hello")
	p.Stop()
	require.Error(t, p.Err(), "interrupted")
}

func TestClientWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{
		nil, {"a:1"}, {"-wait", "0", "127.0.0.1:9", "x"}, {"-tries", "0", "127.0.0.1:9", "x"},
		{"127.0.0.1", "x"}, {"127.0.0.1:0", "x"},
	} {
		require.Error(t, run(t.Context(), args, io.Discard, udp.Config{}), "%v", args)
	}
}
