package main

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs the example and returns where it listens.
func start(t *testing.T, listen string) (p *program.Program, addr string) {
	t.Helper()
	p = program.Run(t, func(ctx context.Context, stdout io.Writer) error {
		return run(ctx, []string{"-listen", listen}, stdout, udp.Config{})
	})
	return p, p.Line(`^listening on (\S+)$`)[1]
}

func TestEcho(t *testing.T) {
	p, addr := start(t, "127.0.0.1:0")
	q := udp.NewQueue(8, udp.Block)
	c, err := udp.Dial(t.Context(), "udp", addr, q)
	require.NoError(t, err)
	defer c.Close()
	for _, text := range []string{"one", "", "three"} {
		require.NoError(t, c.Send([]byte(text)))
		d, err := q.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, text, string(d.Data))
	}
	require.Equal(t, []string{"received 3, replied to 3"}, p.Stop())
	require.NoError(t, p.Err())
}

func TestEchoRepliesToWhatArrivedBeforeItStops(t *testing.T) {
	p, addr := start(t, "127.0.0.1:0")
	const n = 50 // they fit into the smallest receive buffer
	q := udp.NewQueue(n, udp.Block)
	c, err := udp.Dial(t.Context(), "udp", addr, q)
	require.NoError(t, err)
	defer c.Close()
	for range n {
		require.NoError(t, c.Send([]byte("x")))
	}
	require.Equal(t, []string{"received 50, replied to 50"}, p.Stop())
	for range n {
		_, err := q.Receive(t.Context())
		require.NoError(t, err)
	}
}

func TestEchoOnAPortInUse(t *testing.T) {
	_, addr := start(t, "127.0.0.1:0")
	err := run(t.Context(), []string{"-listen", addr}, io.Discard, udp.Config{})
	_, ok := err.(*net.OpError)
	require.True(t, ok, "%T: %v", err, err)
}

func TestEchoWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{{"-listen", "nowhere"}, {"localhost:7007"}} {
		require.Error(t, run(t.Context(), args, io.Discard, udp.Config{}), "%v", args)
	}
}
