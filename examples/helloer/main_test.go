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
		return run(ctx, args, stdout)
	})
}

var echo = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply(d.Data) })

func TestHelloerEndsAfterItsAnswers(t *testing.T) {
	server, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", echo)
	require.NoError(t, err)
	defer server.Close()
	addr := server.LocalAddrPort().String()
	p := start(t, "-every", "1ms", "-count", "3", addr)
	p.Line("^now we can only send to " + addr)
	for range 3 {
		p.Line(`^received "hello" from ` + addr)
	}
	require.Empty(t, p.Rest())
	require.NoError(t, p.Err())
}

func TestHelloerHearsThatNobodyListensAndThenThatSomebodyDoes(t *testing.T) {
	// Connected to somebody else the server is deaf to the helloer, and nobody can
	// take its port.
	server, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", echo)
	require.NoError(t, err)
	defer server.Close()
	busy, err := server.Connect(netip.MustParseAddrPort("127.0.0.1:9"))
	require.NoError(t, err)

	p := start(t, "-every", "1ms", server.LocalAddrPort().String())
	p.Line(`^nobody listens: .*refused`)
	p.Line(`^nobody listens: .*refused`)
	_, err = busy.Disconnect()
	require.NoError(t, err)
	p.Line(`^received "hello"`)
	_, err = server.Connect(netip.MustParseAddrPort("127.0.0.1:9"))
	require.NoError(t, err)
	p.Line(`^nobody listens: .*refused`)
	p.Stop()
	require.NoError(t, p.Err())
}

func TestHelloerWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"a:1", "b:1"}, {"-every", "0", "127.0.0.1:9"}, {"127.0.0.1"}, {"127.0.0.1:0"}} {
		require.Error(t, run(t.Context(), args, io.Discard), "%v", args)
	}
}

func TestHelloerHelps(t *testing.T) {
	program.Helps(t, func(args []string, stdout io.Writer) error { return run(t.Context(), args, stdout) })
}
