//go:build (amd64 || arm64) && !udpbasic

package faults_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// supervisor decides about the system calls of another process (SECCOMP_RET_USER_NOTIF, Linux
// 5.0; seccomp_unotify(2)). It lets them continue, except those that should fail.
type supervisor struct {
	mu     sync.Mutex
	number uintptr
	errno  unix.Errno
	from   int // calls that are allowed before
	times  int // calls that fail then; below 0: all
	failed int // that have failed
}

func (s *supervisor) arm(number uintptr, errno unix.Errno, from, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number, s.errno, s.from, s.times, s.failed = number, errno, from, times, 0
}

// disarm lets all calls continue and returns how many have failed.
func (s *supervisor) disarm() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number = ^uintptr(0)
	return s.failed
}

func (s *supervisor) judge(number uintptr) (errno unix.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case number != s.number:
		return 0
	case s.from > 0:
		s.from--
		return 0
	case s.times == 0:
		return 0
	}
	s.times--
	s.failed++
	return s.errno
}

// run serves a listener until its process has ended.
func (s *supervisor) run(listener int) {
	defer unix.Close(listener)
	for {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR || fds[0].Revents&unix.POLLHUP != 0 {
			return
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var notice struct { // struct seccomp_notif
			id         uint64
			pid, flags uint32
			number     int32
			arch       uint32
			ip         uint64
			args       [6]uint64
		}
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&notice))); e != 0 {
			continue // the caller was interrupted (ENOENT), or this process was
		}
		answer := struct { // struct seccomp_notif_resp
			id           uint64
			value        int64
			error, flags int32
		}{id: notice.id}
		if errno := s.judge(uintptr(notice.number)); errno != 0 {
			answer.error = -int32(errno)
		} else {
			answer.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer)))
	}
}

// supervised installs a filter that asks a supervisor about this process's system calls.
func supervised() (listener int, err error) {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // struct seccomp_data.nr
	for i, call := range systemCalls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(systemCalls) - i), K: uint32(call.number)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// A signal must not end a call that the supervisor knows of (Linux 5.19).
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	fd, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if e != 0 {
		return 0, e
	}
	return int(fd), nil
}

// supervisedProcess is a second run of this program for the running test. It does what its
// parent asks for, by lines of text, while its system calls are supervised.
type supervisedProcess struct {
	*supervisor
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  *bufio.Scanner
	served chan struct{}
}

// newSupervised starts it with a variable of its environment, and skips the test where that
// isn't allowed.
func newSupervised(t *testing.T, variable, value string) *supervisedProcess {
	args := []string{"-test.run=^" + t.Name() + "$"}
	if end, ok := t.Deadline(); ok { // its stacks say what hung
		args = append(args, "-test.timeout="+max(time.Second, time.Until(end)-5*time.Second).String())
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), variable+"="+value)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // if the test has failed
	p := &supervisedProcess{&supervisor{number: ^uintptr(0)}, t, cmd, stdin, bufio.NewScanner(stdout), make(chan struct{})}
	first := p.answer()
	if why, ok := strings.CutPrefix(first, "skip "); ok {
		stdin.Close()
		_ = cmd.Wait()
		t.Skip("no supervision of system calls: ", why)
	}
	number, err := strconv.Atoi(strings.TrimPrefix(first, "listener "))
	require.NoError(t, err)
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	require.NoError(t, err)
	defer unix.Close(pidfd)
	listener, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Skip("the process's descriptor can't be had: ", err)
	}
	go func() { defer close(p.served); p.run(listener) }()
	return p
}

// answer returns the process's next line.
func (p *supervisedProcess) answer() string {
	for p.lines.Scan() {
		if text, ok := strings.CutPrefix(p.lines.Text(), "> "); ok {
			return text
		}
		p.t.Log(p.lines.Text())
	}
	p.t.Fatal("the process has ended")
	return ""
}

func (p *supervisedProcess) ask(command string) string {
	_, err := fmt.Fprintln(p.stdin, command)
	require.NoError(p.t, err)
	return p.answer()
}

func (p *supervisedProcess) end(t *testing.T) {
	p.stdin.Close()
	for p.lines.Scan() {
	}
	require.NoError(t, p.cmd.Wait())
	<-p.served
}

// reply prints a line for the parent.
func reply(format string, args ...any) {
	fmt.Println("> " + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// echoServer returns the address of a socket of package net that sends back what it receives.
func echoServer(t *testing.T) string {
	echo, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		b := make([]byte, 2000)
		for {
			n, from, err := echo.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = echo.WriteToUDPAddrPort(b[:n], from)
			}
		}
	}()
	t.Cleanup(func() { echo.Close(); <-echoed })
	return echo.LocalAddr().String()
}
