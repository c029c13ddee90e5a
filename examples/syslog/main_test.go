package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
	"github.com/udpkit/udp/internal/sockettest"
)

// asProgram makes the test binary be the program itself, so that it can be sent
// a signal.
const asProgram = "SYSLOG_TEST_IS_PROGRAM"

func TestMain(m *testing.M) { program.Main(m, asProgram, main) }

// process starts the program as a process that listens on a free port, and
// returns it with that port and the size of its receive buffer.
func process(t *testing.T) (p *program.Program, cmd *exec.Cmd, addr netip.AddrPort, buffer int) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	p = program.StartCmd(t, nil, cmd)
	m := p.Line(`^listening on (\S+) with a buffer of (\d+) bytes`)
	buffer, err := strconv.Atoi(m[2])
	require.NoError(t, err)
	return p, cmd, netip.MustParseAddrPort(m[1]), buffer
}

// terminate sends SIGTERM and returns the remaining lines.
func terminate(t *testing.T, p *program.Program, cmd *exec.Cmd) []string {
	t.Helper()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	rest := p.Rest()
	require.NoError(t, p.Err())
	return rest
}

func dial(t *testing.T, addr netip.AddrPort) *udp.ConnectedConn {
	t.Helper()
	c, err := udp.Dial(t.Context(), "udp", addr.String(), udp.BaseHandler{})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSyslogWritesMessagesAndEndsOnSIGTERM(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		t.Skip("there is no SIGTERM to send")
	}
	p, cmd, addr, _ := process(t)
	c := dial(t, addr)
	require.NoError(t, c.Send([]byte("<34>1 2003-10-11T22:14:15.003Z host su - ID47 - failed")))
	require.NoError(t, c.Send([]byte("<13>me: old style")))
	p.Line(`^20\S+Z 127\.0\.0\.1 auth\.crit 1 2003-10-11T22:14:15\.003Z host su - ID47 - failed$`)
	p.Line(`^20\S+Z 127\.0\.0\.1 user\.notice me: old style$`)

	// These may be on their way when the signal comes; none is lost.
	const n = 100
	for i := range n {
		require.NoError(t, c.Send(fmt.Appendf(nil, "<13>me: number %d", i)))
	}
	rest := terminate(t, p, cmd)
	require.Len(t, rest, n+1)
	for i, line := range rest[:n] {
		require.True(t, strings.HasSuffix(line, fmt.Sprintf(" me: number %d", i)), line)
	}
	require.Regexp(t, `^102 messages received, 102 written, 0 dropped, (0|-1) lost`, rest[n])
}

// gate is an output that takes nothing until it is opened.
type gate struct {
	entered chan struct{} // gets one when somebody waits
	open    chan struct{}
	bytes.Buffer
}

func (g *gate) Write(b []byte) (int, error) {
	select {
	case g.entered <- struct{}{}:
	default:
	}
	<-g.open
	return g.Buffer.Write(b)
}

func TestSyslogLosesNothingWhenItsOutputIsSlow(t *testing.T) {
	out := &gate{entered: make(chan struct{}, 1), open: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	result := make(chan error, 1)
	p := program.Run(t, func(_ context.Context, stderr io.Writer) error {
		// Not the program's context: the end is this test's.
		err := run(ctx, []string{"-listen", "127.0.0.1:0", "-queue", "4"}, out, stderr)
		result <- err
		return err
	})
	addr := netip.MustParseAddrPort(p.Line(`^listening on (\S+)`)[1])
	c := dial(t, addr)
	require.NoError(t, c.Send([]byte("first")))
	<-out.entered // so now it hangs in its output

	// Four fit into the queue, one waits for room; the kernel has the rest.
	const n = 60
	for i := range n {
		require.NoError(t, c.Send(fmt.Appendf(nil, "number %d", i)))
	}
	sockettest.Settle(t)
	stop()
	close(out.open)
	require.NoError(t, <-result)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, n+1)
	for i, line := range lines[1:] {
		require.True(t, strings.HasSuffix(line, fmt.Sprintf(" user.notice number %d", i)), line)
	}
	p.Line(`^61 messages received, 61 written, 0 dropped`)
}

func TestSyslogWarnsOfASmallBuffer(t *testing.T) {
	require.Equal(t, "4096 bytes (asked for 8192; on Linux see net.core.rmem_max)", granted(4096, 8192))
	require.Equal(t, "8192 bytes", granted(8192, 8192))
	require.Equal(t, "212992 bytes", granted(212992, 0))

	// Nobody grants this much.
	const most = 1<<31 - 1
	p := program.Run(t, func(ctx context.Context, stderr io.Writer) error {
		return run(ctx, []string{"-listen", "127.0.0.1:0", "-buffer", fmt.Sprint(most)}, io.Discard, stderr)
	})
	p.Line(`^listening on \S+ with a buffer of \d+ bytes \(asked for 2147483647; `)
}

type broken struct{}

var errBroken = errors.New("disk full")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestSyslogEndsWhenItCannotWrite(t *testing.T) {
	p := program.Run(t, func(ctx context.Context, stderr io.Writer) error {
		return run(ctx, []string{"-listen", "127.0.0.1:0"}, broken{}, stderr)
	})
	addr := netip.MustParseAddrPort(p.Line(`^listening on (\S+)`)[1])
	require.NoError(t, dial(t, addr).Send([]byte("x")))
	p.Rest()
	require.ErrorIs(t, p.Err(), errBroken)
}

func TestSyslogWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{{"-x"}, {"-listen", "nowhere"}, {"-buffer", "-1"}, {":5514"}} {
		require.Error(t, run(t.Context(), args, io.Discard, io.Discard), "%v", args)
	}
}
