package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
	"github.com/udpkit/udp/internal/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, args ...string) *program.Program {
	t.Helper()
	return program.RunWith(t, run, args...)
}

func TestDiscoveryOnOneInterface(t *testing.T) {
	lo := program.Loopback(t).Name
	server := start(t, "serve", "-interface", lo, "-group", "239.255.80.5:0", "-data", "here")
	server.Line(`^joined 239\.255\.80\.5 on ` + lo)
	at := server.Line(`^serving (\S+)`)[1]

	client := start(t, "find", "-interface", lo, "-group", at, "-wait", "1m", "-count", "1")
	client.Line(`^\S+ replied "here"`)
	require.Empty(t, client.Rest())
	require.NoError(t, client.Err())
	server.Line(`^\S+ asked for "UniqueID"`)
}

func TestDiscoveryOnEveryInterface(t *testing.T) {
	netns.Isolated(t, func() {
		ns := netns.Self(t)
		netns.Veth(t, ns, "left", ns, "right")
		ns.Addr("left", "192.0.2.1/24", "2001:db8:1::1/64", "fe80::1/64")
		ns.Addr("right", "198.51.100.1/24", "2001:db8:2::1/64", "fe80::2/64")
		for _, group := range []string{"239.255.80.5", "ff15::8005", "ff12::8005"} {
			server := start(t, "serve", "-group", net.JoinHostPort(group, "0"))
			server.Line("^joined " + group + " on left")
			server.Line("^joined " + group + " on right")
			at := server.Line(`^serving (\S+)`)[1]
			// What leaves by one end comes in by the other, and by its own: multicast
			// is looped back.
			client := start(t, "find", "-group", at, "-wait", "1m", "-count", "2")
			client.Rest()
			require.NoError(t, client.Err())
		}
	})
}

func TestServersShareAPort(t *testing.T) {
	lo := program.Loopback(t).Name
	one := start(t, "serve", "-interface", lo, "-group", "239.255.80.5:0", "-data", "one")
	at := one.Line(`^serving (\S+)`)[1]
	two := start(t, "serve", "-interface", lo, "-group", at, "-data", "two")
	two.Line("^serving " + at)

	client := start(t, "find", "-interface", lo, "-group", at, "-wait", "1m", "-count", "2")
	lines := client.Rest()
	require.NoError(t, client.Err())
	require.Len(t, lines, 2)
	text := fmt.Sprint(lines)
	require.Contains(t, text, `replied "one"`)
	require.Contains(t, text, `replied "two"`)
}

func TestServerDropsOtherIDs(t *testing.T) {
	lo := program.Loopback(t)
	server := start(t, "serve", "-interface", lo.Name, "-group", "239.255.80.5:0", "-id", "mine")
	at := netip.MustParseAddrPort(server.Line(`^serving (\S+)`)[1])

	q := udp.NewQueue(8, udp.Block)
	c, err := udp.ListenMulticast(t.Context(), "udp4", "127.0.0.1:0", q)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetMulticastInterface(lo))
	// One sender's datagrams stay in order, so one reply says that only the last
	// got one.
	for _, id := range []string{"yours", "", "mine and more", "mine"} {
		require.NoError(t, c.SendTo([]byte(id), at))
	}
	d, err := q.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, "data", string(d.Data))
	server.Line(`asked for "mine"$`)
	require.Empty(t, server.Stop())
	require.NoError(t, server.Err())
	require.Empty(t, q.Datagrams())
}

func TestFindWithNoReply(t *testing.T) {
	err := run(t.Context(), []string{"find", "-interface", program.Loopback(t).Name, "-wait", "1ns", "-group", "239.255.80.6:9"}, io.Discard)
	require.ErrorContains(t, err, "0 replies")
}

func TestInterruptedFindReportsHowLongItTook(t *testing.T) {
	lo := program.Loopback(t).Name
	server := start(t, "serve", "-interface", lo, "-group", "239.255.80.5:0")
	at := server.Line(`^serving (\S+)`)[1]
	client := start(t, "find", "-interface", lo, "-group", at, "-wait", "1h", "-count", "2")
	client.Line(`^\S+ replied`)
	client.Stop()
	require.ErrorContains(t, client.Err(), "1 replies in ")
	require.NotContains(t, client.Err().Error(), "1h")
}

func TestDiscoveryWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{
		nil, {"seek"}, {"find", "UniqueID"}, {"serve", "-group", "x"}, {"serve", "-interface", "no such"},
		{"serve", "-group", "127.0.0.1:0"}, {"find", "-group", "239.1.1.1:0"},
	} {
		require.Error(t, run(t.Context(), args, io.Discard), "%v", args)
	}
}
