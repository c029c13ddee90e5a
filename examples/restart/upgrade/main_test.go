package main

import (
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/examples/internal/program"
	"github.com/udpkit/udp/examples/restart/internal/client"
)

// asProgram makes the test binary the program itself.
const asProgram = "UPGRADE_TEST_IS_PROGRAM"

func TestMain(m *testing.M) { program.Main(m, asProgram, main) }

// Each request has one reply across several upgrades, whichever process gives it.
func TestUpgradesLoseNothing(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := program.StartCmd(t, nil, cmd)
	// The successors are not children of the test, but of its group.
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	const listens = `^process (\d+) listens on (\S+)$`
	line := p.Line(listens)
	to := netip.MustParseAddrPort(line[2])
	signal := func(s syscall.Signal) {
		pid, err := strconv.Atoi(line[1])
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, s))
	}
	// tableflip's goroutine may find the signal before it finds that the process is ready, and that
	// its parent has exited.
	const upgraded = listens + `|^the old version goes on: (process is not ready yet|parent hasn't exited)$`
	for upgrades := 0; upgrades < 3; {
		before := line[1]
		replies := client.Across(t, to, func() { signal(syscall.SIGHUP) })
		if next := p.Line(upgraded); next[1] != "" {
			upgrades++
			line = next
			require.NotEqual(t, before, line[1])
			require.Equal(t, to.String(), line[2])
		}
		seen := map[string]bool{}
		for _, r := range replies {
			_, request, ok := strings.Cut(r, " ")
			require.True(t, ok, r)
			assert.False(t, seen[request], "two replies to %s", request)
			seen[request] = true
		}
		assert.Len(t, seen, 2*client.Sent)
	}
}
