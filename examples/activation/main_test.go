package main

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
)

// asProgram makes the test binary the program itself.
const asProgram = "ACTIVATION_TEST_IS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// activate starts the program as systemd does, with descriptor 3 and its own process ID.
func activate(t *testing.T, f *os.File, sockets string, args ...string) *program.Program {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0]}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "LISTEN_FDS="+sockets)
	cmd.ExtraFiles = []*os.File{f}
	return program.StartCmd(t, nil, cmd)
}

func TestSystemdPassesTheSocket(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		t.Skip("processes inherit no descriptors")
	}
	program.Need(t, "sh")
	kept, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer kept.Close()
	f, err := kept.File()
	require.NoError(t, err)
	defer f.Close()

	q := udp.NewQueue(8, udp.Block)
	c, err := udp.Dial(t.Context(), "udp", kept.LocalAddr().String(), q)
	require.NoError(t, err)
	defer c.Close()
	// Each time it starts for a datagram that waits, and ends when there are no more.
	for range 2 {
		require.NoError(t, c.Send([]byte("what time is it?")))
		p := activate(t, f, "1", "-idle", "10ms")
		p.Line(`^listening on ` + kept.LocalAddr().String() + `, passed by systemd: true$`)
		d, err := q.Receive(t.Context())
		require.NoError(t, err)
		_, err = time.Parse(time.RFC3339, string(d.Data))
		require.NoError(t, err)
		require.Contains(t, p.Rest(), "replied to 1")
		require.NoError(t, p.Err())
	}

	p := activate(t, f, "2")
	p.Line("systemd passed 2 sockets")
	p.Rest()
	require.Error(t, p.Err())

	_, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	p = activate(t, w, "1")
	p.Rest()
	require.Error(t, p.Err(), "not a socket")
}

func TestStartedByHand(t *testing.T) {
	p := program.Run(t, func(ctx context.Context, stdout io.Writer) error {
		return run(ctx, []string{"-listen", "127.0.0.1:0", "-idle", "1ms"}, stdout, udp.Config{})
	})
	p.Line(`^listening on 127\.0\.0\.1:\d+, passed by systemd: false$`)
	require.Equal(t, []string{"replied to 0"}, p.Rest())
	require.NoError(t, p.Err())

	for _, args := range [][]string{{"-x"}, {"-idle", "0"}, {"-listen", "nowhere"}} {
		require.Error(t, run(t.Context(), args, io.Discard, udp.Config{}), "%v", args)
	}
}
