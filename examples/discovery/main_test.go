package main

import (
	"context"
	"fmt"
	"io"
	"net"
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

// loopback returns the loopback interface.
func loopback(t *testing.T) *net.Interface {
	t.Helper()
	ifs, err := net.Interfaces()
	require.NoError(t, err)
	for _, ifi := range ifs {
		if ifi.Flags&(net.FlagLoopback|net.FlagUp) == net.FlagLoopback|net.FlagUp {
			return &ifi
		}
	}
	t.Skip("there is no loopback interface")
	return nil
}

func TestDiscovery(t *testing.T) {
	lo := loopback(t).Name
	for _, group := range []string{"239.255.80.5", "ff01::805"} {
		t.Run(group, func(t *testing.T) {
			if netip.MustParseAddr(group).Is6() {
				c, err := net.ListenPacket("udp6", "[::1]:0")
				if err != nil {
					t.Skip("no IPv6: ", err)
				}
				c.Close()
			}
			server := start(t, "serve", "-interface", lo, "-group", net.JoinHostPort(group, "0"), "-data", "here")
			server.Line("^joined " + group + " on " + lo)
			at := server.Line(`^serving (\S+)`)[1]

			client := start(t, "find", "-interface", lo, "-group", at, "-wait", "30s", "-count", "1")
			client.Line(`^\S+ answered "here"`)
			client.Rest()
			require.NoError(t, client.Err())
			server.Line(`^\S+ asked for "UniqueID"`)
		})
	}
}

func TestServersShareAPort(t *testing.T) {
	lo := loopback(t).Name
	one := start(t, "serve", "-interface", lo, "-group", "239.255.80.5:0", "-data", "one")
	at := one.Line(`^serving (\S+)`)[1]
	two := start(t, "serve", "-interface", lo, "-group", at, "-data", "two")
	two.Line("^serving " + at)

	client := start(t, "find", "-interface", lo, "-group", at, "-wait", "30s", "-count", "2")
	lines := client.Rest()
	require.NoError(t, client.Err())
	require.Len(t, lines, 2)
	text := fmt.Sprint(lines)
	require.Contains(t, text, `answered "one"`)
	require.Contains(t, text, `answered "two"`)
}

func TestServerAnswersNobodyWithAnotherID(t *testing.T) {
	lo := loopback(t)
	server := start(t, "serve", "-interface", lo.Name, "-group", "239.255.80.5:0", "-id", "mine")
	at := netip.MustParseAddrPort(server.Line(`^serving (\S+)`)[1])

	q := udp.NewQueue(8, udp.Block)
	c, err := udp.ListenMulticast(t.Context(), "udp4", "127.0.0.1:0", q)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetInterface(lo))
	// One sender's datagrams stay in order, so one answer says that only the last
	// was answered.
	for _, id := range []string{"yours", "", "mine and more", "mine"} {
		require.NoError(t, c.SendTo([]byte(id), at))
	}
	require.Equal(t, "data", string((<-q.Datagrams()).Data))
	server.Line(`asked for "mine"$`)
	require.Empty(t, server.Stop())
	require.Empty(t, q.Datagrams())
}

func TestFindWithNoAnswer(t *testing.T) {
	err := run(t.Context(), []string{"find", "-interface", loopback(t).Name, "-wait", "1ms", "-group", "239.255.80.6:9"}, io.Discard)
	require.ErrorContains(t, err, "0 answers")
}

func TestDiscoveryWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{
		nil, {"seek"}, {"serve", "x"}, {"serve", "-group", "x"}, {"serve", "-interface", "no such"},
		{"serve", "-group", "127.0.0.1:0"}, {"find", "-group", "239.1.1.1:0"},
	} {
		require.Error(t, run(t.Context(), args, io.Discard), "%v", args)
	}
}
