package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An outcome is the line of JSON that a program prints when it ends.
type outcome struct {
	Port                          int
	Received, Sent, Errors        uint64
	Bad, Disorder, Lost, Timeouts uint64
	Counted                       uint64  // datagrams in the measured window
	Seconds                       float64 // its length
	Coalesced                     bool    // the kernel queues, and drops, coalesced packets
	Segments                      uint64
	Drops                         uint64 // of a client's own socket
	CPU                           uint64 `json:"cpu_ns"`
	P50                           uint64 `json:"p50_ns"`
	P99                           uint64 `json:"p99_ns"`
	P999                          uint64 `json:"p999_ns"`
	Longest                       uint64 `json:"most_ns"`
	Reply31                       uint64 `json:"reply31_ns"`
	Procs                         int    `json:"gomaxprocs"`
	Sockets, Resident, Heap       int64
}

// A process is a program that is being measured.
type process struct {
	cmd   *exec.Cmd
	out   *bufio.Reader
	errs  bytes.Buffer
	name  string
	alive bool
}

// start starts a program on cores; "" is all of them.
func (s *settings) start(ctx context.Context, cores string, command []string, args ...any) (*process, error) {
	line := slices.Clone(command)
	if cores != "" {
		line = append([]string{"taskset", "-c", cores}, line...)
	}
	if s.nice != 0 {
		line = append([]string{"nice", "-n", strconv.Itoa(s.nice)}, line...)
	}
	for i := 0; i < len(args); i += 2 {
		line = append(line, fmt.Sprintf("%v=%v", args[i], args[i+1]))
	}
	p := &process{name: strings.Join(line, " ")}
	p.cmd = exec.CommandContext(ctx, line[0], line[1:]...)
	p.cmd.Stderr = &p.errs
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: s.nice != 0}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.alive = true
	if s.nice != 0 {
		// With autogroups, the priority of the group counts, too (sched(7), "The autogroup
		// feature").
		file := fmt.Sprintf("/proc/%d/autogroup", p.cmd.Process.Pid)
		if err := os.WriteFile(file, []byte(strconv.Itoa(s.nice)), 0); err != nil && !os.IsNotExist(err) {
			p.kill()
			return nil, err
		}
	}
	return p, nil
}

// line reads one line of JSON.
func (p *process) line() (outcome, error) {
	var o outcome
	b, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		p.kill()
		err = fmt.Errorf("%s: %w: %s", p.name, err, strings.TrimSpace(p.errs.String()))
	}
	return o, err
}

// finish reads the outcome of a program that ends by itself.
func (p *process) finish() (outcome, error) {
	o, err := p.line()
	if err != nil {
		return o, err
	}
	p.alive = false
	if err := p.cmd.Wait(); err != nil {
		return o, fmt.Errorf("%s: %w: %s", p.name, err, strings.TrimSpace(p.errs.String()))
	}
	return o, nil
}

// pause stops a program until resume, as SIGSTOP does, and waits until it has stopped.
func (p *process) pause() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WSTOPPED, nil); err != nil {
		return fmt.Errorf("%s: waitid: %w", p.name, err)
	}
	return nil
}

func (p *process) resume() error {
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// stop ends a program that runs until it is stopped, and reads its outcome.
func (p *process) stop() (outcome, error) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return outcome{}, fmt.Errorf("%s: %w", p.name, err)
	}
	return p.finish()
}

// kill ends a program in any case.
func (p *process) kill() {
	if p.alive {
		p.alive = false
		p.cmd.Process.Kill()
		p.cmd.Wait()
	}
}

// queue returns how many bytes the kernel has queued for the sockets of a port,
// and how many packets it dropped.
func queue(port int) (bytes, drops uint64, err error) {
	for _, file := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			return 0, 0, err
		}
		local := fmt.Sprintf(":%04X", port)
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 13 || !strings.HasSuffix(f[1], local) {
				continue
			}
			_, in, _ := strings.Cut(f[4], ":")
			n, err := strconv.ParseUint(in, 16, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("%s: %w", file, err)
			}
			d, err := strconv.ParseUint(f[12], 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("%s: %w", file, err)
			}
			bytes, drops = bytes+n, drops+d
		}
	}
	return bytes, drops, nil
}

// drained waits until nothing is queued for the sockets of a port, and returns how many packets
// the kernel dropped.
func drained(ctx context.Context, port int) (drops uint64, err error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		bytes, drops, err := queue(port)
		if err != nil || bytes == 0 {
			return drops, err
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%d bytes are still queued at port %d", bytes, port)
		case <-tick.C:
		}
	}
}
