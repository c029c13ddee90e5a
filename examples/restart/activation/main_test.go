package main

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
	"github.com/udpkit/udp/examples/restart/internal/client"
)

// asProgram makes the test binary the program itself.
const asProgram = "ACTIVATION_TEST_IS_PROGRAM"

func TestMain(m *testing.M) { program.Main(m, asProgram, main) }

// activate starts the program as systemd does, with descriptor 3 and its own process ID. stop is
// what "systemctl stop" sends.
func activate(t *testing.T, f *os.File, sockets string, args ...string) (p *program.Program, stop func()) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0]}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "LISTEN_FDNAMES=clock", "LISTEN_FDS="+sockets)
	cmd.ExtraFiles = []*os.File{f}
	p = program.StartCmd(t, nil, cmd)
	return p, func() { require.NoError(t, cmd.Process.Signal(syscall.SIGTERM)) }
}

// keep opens a socket as systemd does, which keeps it.
func keep(t *testing.T) (kept *net.UDPConn, f *os.File) {
	t.Helper()
	program.Need(t, "sh")
	kept, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { kept.Close() })
	f, err = kept.File()
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return kept, f
}

func TestSystemdPassesTheSocket(t *testing.T) {
	kept, f := keep(t)
	q := udp.NewQueue(8, udp.Block)
	c, err := udp.Dial(t.Context(), "udp", kept.LocalAddr().String(), q)
	require.NoError(t, err)
	defer c.Close()
	// Each time it starts for a datagram that waits.
	for range 2 {
		require.NoError(t, c.Send([]byte("what time is it?")))
		p, stop := activate(t, f, "1")
		p.Line(`^listening on ` + kept.LocalAddr().String() + `, passed by systemd as clock$`)
		d, err := q.Receive(t.Context())
		require.NoError(t, err)
		_, err = time.Parse(time.RFC3339, string(d.Data))
		require.NoError(t, err)
		stop()
		require.Contains(t, p.Rest(), "replied to 1")
		require.NoError(t, p.Err())
	}

	p, _ := activate(t, f, "2")
	p.Line("systemd passed 2 sockets")
	p.Rest()
	require.Error(t, p.Err())

	_, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	p, _ = activate(t, w, "1")
	p.Rest()
	require.Error(t, p.Err(), "not a socket")
}

// Of the requests that wait and those that arrive while the service stops, each has a reply: from
// the old process or the new one.
func TestARestartLosesNothing(t *testing.T) {
	kept, f := keep(t)
	old, stop := activate(t, f, "1")
	old.Line("^listening on ")
	var next *program.Program
	var stopNext func()
	started := make(chan struct{})
	client.Across(t, kept.LocalAddr().(*net.UDPAddr).AddrPort(), func() {
		stop()
		go func() {
			old.Rest()
			next, stopNext = activate(t, f, "1")
			close(started)
		}()
	})
	<-started
	next.Line("^listening on ")
	stopNext()
	replied := 0
	for _, p := range []*program.Program{old, next} {
		p.Rest()
		require.NoError(t, p.Err())
		lines := strings.Split(p.Output(), "\n")
		n, err := strconv.Atoi(strings.TrimPrefix(lines[len(lines)-1], "replied to "))
		require.NoError(t, err)
		replied += n
	}
	assert.Equal(t, 2*client.Sent, replied)
}

// systemd-socket-activate is systemd's tool to try such services. It passes sockets on that it
// was passed itself.
func TestSystemdSocketActivate(t *testing.T) {
	program.Need(t, "systemd-socket-activate")
	kept, f := keep(t)
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec systemd-socket-activate --datagram --fdname=clock \
		--setenv=`+asProgram+`=1 "$0"`, os.Args[0])
	cmd.ExtraFiles = []*os.File{f}
	p := program.StartCmd(t, nil, cmd)
	q := udp.NewQueue(1, udp.Block)
	c, err := udp.Dial(t.Context(), "udp", kept.LocalAddr().String(), q)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Send([]byte("what time is it?")))
	p.Line(`^listening on ` + kept.LocalAddr().String() + `, passed by systemd as clock$`)
	_, err = q.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Contains(t, p.Rest(), "replied to 1")
	require.NoError(t, p.Err())
}

func TestStartedByHand(t *testing.T) {
	p := program.Run(t, func(ctx context.Context, stdout io.Writer) error {
		return run(ctx, []string{"-listen", "127.0.0.1:0", "-idle", "1ms"}, stdout, udp.Config{})
	})
	p.Line(`^listening on 127\.0\.0\.1:\d+$`)
	require.Empty(t, p.Rest())
	require.NoError(t, p.Err())

	for _, args := range [][]string{{"-x"}, {"-idle", "0"}, {"-listen", "nowhere"}} {
		require.Error(t, run(t.Context(), args, io.Discard, udp.Config{}), "%v", args)
	}
}
