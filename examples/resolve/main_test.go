package main

import (
	"bytes"
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

func TestResolvePrintsEachAddressInTheOrderOfTheArguments(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-network", "udp4", "localhost:domain", "127.0.0.2:7"}, &out))
	require.Equal(t, "localhost:domain 127.0.0.1:53\n127.0.0.2:7 127.0.0.2:7\n", out.String())
}

func TestResolveGoesOnAfterAnError(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"-network", "udp4", "[::1]:7", "127.0.0.1:7", "127.0.0.1:nosuchservice"}, &out)
	require.ErrorIs(t, err, udp.ErrFamily)
	var dns *net.DNSError
	require.ErrorAs(t, err, &dns)
	require.Equal(t, "127.0.0.1:7 127.0.0.1:7\n", out.String())
}

func TestResolveStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, []string{"localhost.example:7"}, io.Discard), context.Canceled)
}

func TestResolveWithWrongArguments(t *testing.T) {
	require.Error(t, run(t.Context(), nil, io.Discard))
	require.ErrorIs(t, run(t.Context(), []string{"-network", "tcp", "127.0.0.1:7"}, io.Discard), net.UnknownNetworkError("tcp"))
}

func TestResolveHelps(t *testing.T) {
	program.Helps(t, func(args []string, stdout io.Writer) error { return run(t.Context(), args, stdout) })
}
