// Package program runs the examples, and programs that talk to them, in tests.
package program

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// Program is one that runs: the run function of an example, or a process. What
// it writes is kept, so it never waits for its test. It is stopped, and waited
// for, when the test ends.
type Program struct {
	t    testing.TB
	name string
	stop func()
	more chan struct{} // holds a value after a new line, and after the end
	done chan struct{}

	mu    sync.Mutex
	lines []string
	at    int   // the first that Line has not seen
	err   error // once done
}

// Main runs the tests of a program, and then looks for goroutines that are left. With an
// environment variable of that name the test binary is the program itself, as a process that
// can get signals.
func Main(m *testing.M, variable string, main func()) {
	if os.Getenv(variable) != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// errStopped is the cause that Stop cancels a context with: since Go 1.26
// signal.NotifyContext has one, too.
var errStopped = errors.New("the test stops the program")

// Run starts an example's run function. What it writes is read by Line.
func Run(t testing.TB, run func(ctx context.Context, stdout io.Writer) error) *Program {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	r, w := io.Pipe()
	p := &Program{t: t, name: "run", stop: func() { cancel(errStopped) }}
	p.watch(r, func() error {
		err := run(ctx, w)
		w.Close()
		return err
	})
	return p
}

// RunWith is Run for a run function that takes arguments.
func RunWith(t testing.TB, run func(ctx context.Context, args []string, stdout io.Writer) error, args ...string) *Program {
	t.Helper()
	return Run(t, func(ctx context.Context, stdout io.Writer) error { return run(ctx, args, stdout) })
}

// Loopback returns the loopback interface. The test is skipped where there is none.
func Loopback(t testing.TB) *net.Interface {
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

// Start starts a process. What it writes, to stderr too, is read by Line. It
// reads stdin, which may be nil.
func Start(t testing.TB, stdin io.Reader, name string, args ...string) *Program {
	t.Helper()
	cmd := exec.Command(name, args...)
	return StartCmd(t, stdin, cmd)
}

// StartCmd is Start for a command that is made already.
func StartCmd(t testing.TB, stdin io.Reader, cmd *exec.Cmd) *Program {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, w, w
	err = cmd.Start()
	w.Close()
	require.NoError(t, err)
	p := &Program{t: t, name: cmd.Path, stop: func() { _ = cmd.Process.Kill() }}
	p.watch(r, cmd.Wait)
	return p
}

// watch reads what the program writes until it has ended, and makes sure that it
// does.
func (p *Program) watch(r io.ReadCloser, wait func() error) {
	p.more, p.done = make(chan struct{}, 1), make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- wait() }()
	go func() {
		defer close(p.more)
		defer close(p.done)
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
			select {
			case p.more <- struct{}{}:
			default: // it is logged already
			}
		}
		r.Close()
		err := <-ended
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}()
	p.t.Cleanup(func() {
		p.stop()
		<-p.done
		if p.t.Failed() {
			p.t.Logf("%s wrote:\n%s", p.name, p.Output())
		}
	})
}

// Output returns all that has been written so far.
func (p *Program) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// next returns the next line, if there is one yet.
func (p *Program) next() (line string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == len(p.lines) {
		return "", false
	}
	p.at++
	return p.lines[p.at-1], true
}

// Line waits for the next line that matches the regular expression, passing
// over others, and returns the line and then its submatches.
func (p *Program) Line(expr string) []string {
	p.t.Helper()
	re := regexp.MustCompile(expr)
	timeout := time.After(patience)
	for {
		for line, ok := p.next(); ok; line, ok = p.next() {
			if m := re.FindStringSubmatch(line); m != nil {
				m[0] = line
				return m
			}
		}
		select {
		case _, running := <-p.more:
			if !running {
				require.FailNow(p.t, "the program ended", "%s: no line matched %s: %v", p.name, expr, p.Err())
			}
		case <-timeout:
			require.FailNow(p.t, "nothing came", "%s: no line matched %s", p.name, expr)
		}
	}
}

// Stop ends the program, an example by its context and a process by killing it,
// and returns when it has ended, with all the lines that Line had not returned.
func (p *Program) Stop() (rest []string) {
	p.t.Helper()
	p.stop()
	return p.Rest()
}

// Rest waits for the end of a program that ends by itself, and returns the lines
// that Line had not returned.
func (p *Program) Rest() (rest []string) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		require.FailNow(p.t, "the program did not end", p.name)
	}
	for line, ok := p.next(); ok; line, ok = p.next() {
		rest = append(rest, line)
	}
	return rest
}

// Err returns what an ended program returned: the error of run, or of a
// process.
func (p *Program) Err() error {
	<-p.done
	return p.err
}

// Helps makes sure that -h, after the arguments before it, has an example say in a
// sentence what it does, and how it is used.
func Helps(t testing.TB, run func(args []string, stdout io.Writer) error, before ...string) {
	t.Helper()
	var out bytes.Buffer
	require.ErrorIs(t, run(append(before, "-h"), &out), flag.ErrHelp)
	require.Regexp(t, `(?s)^[A-Z][^\n]{20}.*\.\n\nusage: `, out.String())
}

// Need skips the test if a program is missing.
func Need(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed: %v", name, err)
	}
}

// python is Debian's, which its packages are for.
const python = "/usr/bin/python3"

// NeedTwisted skips the test if there is no Python with Twisted.
func NeedTwisted(t testing.TB) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import twisted.internet.udp").CombinedOutput(); err != nil {
		t.Skipf("%s has no Twisted: %v: %s", python, err, bytes.TrimSpace(out))
	}
}

// Twisted starts a Python script with arguments.
func Twisted(t testing.TB, script string, args ...string) *Program {
	t.Helper()
	NeedTwisted(t)
	return Start(t, nil, python, append([]string{"-u", script}, args...)...)
}
