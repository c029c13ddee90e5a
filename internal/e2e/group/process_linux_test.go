package group_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// child serves a group on an address and prints a line when it is ready. After the end of its
// input it shuts the group down and prints how many datagrams were not handled.
func child(address string) int {
	ctx := context.Background()
	var g *udp.Group
	var err error
	do := func() { g, err = udp.Config{}.ListenGroup(ctx, 2, "udp4", address, member) }
	if os.Getenv(childSteering) == "cbpf" {
		err = errors.Join(withoutBPF(do), err)
	} else {
		do()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(g.LocalAddr(), g.Steering())
	_, _ = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err = g.Shutdown(ctx)
	s := g.Stats().Total
	fmt.Println(err, s.Received-s.Handled, s.KernelDrops)
	return 0
}

// process is a child.
type process struct {
	*exec.Cmd
	in                io.Closer
	out               *bufio.Scanner
	address, steering string
}

func start(t *testing.T, steering, address string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0])}
	p.Env = append(os.Environ(), childAddress+"="+address, childSteering+"="+steering)
	p.Stderr = os.Stderr
	in, err := p.StdinPipe()
	require.NoError(t, err)
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	p.in, p.out = in, bufio.NewScanner(out)
	require.True(t, p.out.Scan(), "%v", p.out.Err())
	var ok bool
	p.address, p.steering, ok = strings.Cut(p.out.Text(), " ")
	require.True(t, ok, p.out.Text())
	require.Equal(t, steering, p.steering)
	return p
}

// end ends a child.
func (p *process) end(t *testing.T) {
	t.Helper()
	require.NoError(t, p.in.Close())
	require.True(t, p.out.Scan(), "%v", p.out.Err())
	assert.Equal(t, "<nil> 0 0", p.out.Text())
	require.NoError(t, p.Wait())
}

// The same as TestRollingRestart with processes, as services restart.
func TestRollingRestartOfProcesses(t *testing.T) {
	steerings(t, func(t *testing.T, how func(func())) {
		var steering string
		how(func() { steering = listen(t, udp.Config{}, 1, "udp4", "127.0.0.1:0").Steering().String() })
		p := start(t, steering, "127.0.0.1:0")
		c := newClients(t, flows, netip.MustParseAddrPort(p.address))
		by := c.round()
		stop := c.steadily(perSecond)
		for range restarts {
			next := start(t, steering, p.address)
			c.more(flows / 2)
			p.end(t)
			p = next
			c.more(flows / 2)
		}
		stop()
		assert.Equal(t, by, c.round())
		assert.Zero(t, c.moves.Load())
		p.end(t)
	})
}
