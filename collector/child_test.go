package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Processes that tests start are the test binary again. They write lines to stdout and
// end when their stdin does.
const (
	roleVariable = "COLLECTOR_TEST_ROLE"
	dirVariable  = "COLLECTOR_TEST_DIR"
	urlVariable  = "COLLECTOR_TEST_URL"

	roleCollector = "collector"
	roleNode      = "node"
)

func child(role string) int {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var err error
	switch role {
	case roleCollector:
		err = childCollector(ctx)
	case roleNode:
		err = childNode(ctx)
	default:
		err = fmt.Errorf("role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		return 1
	}
	return 0
}

// childCollector writes the address of its input, and a line for each datagram that
// is accepted.
func childCollector(ctx context.Context) error {
	cfg := defaults()
	cfg.Dir = os.Getenv(dirVariable)
	cfg.HTTP = ""
	cfg.NATS.Listen = ""
	cfg.NATS.URL = os.Getenv(urlVariable)
	cfg.Inputs = []Input{{Format: "raw", Address: "127.0.0.1:0", Sockets: 1}}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	c, err := start(ctx, cfg, options{accepted: func(records []Record) {
		var lines strings.Builder
		for i := range records {
			fmt.Fprintf(&lines, "accepted %s\n", records[i].Payload)
		}
		_, _ = os.Stdout.WriteString(lines.String())
	}}, log)
	if err != nil {
		return err
	}
	fmt.Printf("address %s\n", c.address())
	return c.Run(ctx)
}

// process is a child and the lines that it writes.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner
	stdin io.Closer
}

func startChild(t testing.TB, role string, env ...string) *process {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = stdin.Close() })
	return &process{cmd, bufio.NewScanner(stdout), stdin}
}

// value waits for a line that begins with key, and returns what follows. It is false if
// the process ends before.
func (p *process) value(key string) (string, bool) {
	for p.lines.Scan() {
		if v, ok := strings.CutPrefix(p.lines.Text(), key+" "); ok {
			return v, true
		}
	}
	return "", false
}

// kill ends the process at once, as kill -9 does, and waits for that.
func (p *process) kill() {
	_ = p.Process.Kill()
	_ = p.Wait()
}
