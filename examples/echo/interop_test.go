package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
)

func TestNetcatIsAnswered(t *testing.T) {
	program.Need(t, "nc")
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			port := startOn(t, host)
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer w.Close()
			nc := program.Start(t, r, "nc", "-u", host, port)
			r.Close()
			for _, line := range []string{"hello", "from netcat"} {
				_, err := fmt.Fprintln(w, line)
				require.NoError(t, err)
				nc.Line("^" + line + "$")
			}
		})
	}
}

func TestSocatIsAnswered(t *testing.T) {
	program.Need(t, "socat")
	for host, address := range map[string]string{"127.0.0.1": "UDP4:127.0.0.1:", "::1": "UDP6:[::1]:"} {
		t.Run(host, func(t *testing.T) {
			port := startOn(t, host)
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer w.Close()
			// Its buffer holds a longest line; it writes what it gets to stdout.
			socat := program.Start(t, r, "socat", "-b", "20000", "-", address+port)
			r.Close()
			for _, line := range []string{"hello", strings.Repeat("long ", 3000)} {
				_, err := fmt.Fprintln(w, line)
				require.NoError(t, err)
				socat.Line("^" + line + "$")
			}
		})
	}
}

// startOn runs the server on every address of this host, and returns its port.
// The test is skipped if there is no such host.
func startOn(t *testing.T, host string) (port string) {
	t.Helper()
	probe, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skip(err)
	}
	probe.Close()
	_, addr := start(t, ":0")
	_, port, err = net.SplitHostPort(addr)
	require.NoError(t, err)
	return port
}

func TestTwistedClientIsAnswered(t *testing.T) {
	p, addr := start(t, "127.0.0.1:0")
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	client := program.Twisted(t, "testdata/client.py", port, "hello", "", "grüße")
	require.Equal(t, []string{
		"received 'hello' from " + addr, "received '' from " + addr, "received 'grüße' from " + addr,
	}, client.Rest())
	require.NoError(t, client.Err())
	require.Equal(t, []string{"received 3, replied to 3"}, p.Stop())
}

func TestTwistedServerAnswers(t *testing.T) {
	server := program.Twisted(t, "testdata/server.py")
	addr := "127.0.0.1:" + server.Line(`^listening on (\d+)$`)[1]
	q := udp.NewQueue(8, udp.Block)
	c, err := udp.Dial(t.Context(), "udp", addr, q)
	require.NoError(t, err)
	defer c.Close()
	// No longer than Twisted's maxPacketSize, 8192, above which it cuts.
	for _, text := range []string{"hello", "", strings.Repeat("x", 8192)} {
		require.NoError(t, c.Send([]byte(text)))
		d, err := q.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, text, string(d.Data))
		require.Equal(t, addr, d.From.String())
	}
}
