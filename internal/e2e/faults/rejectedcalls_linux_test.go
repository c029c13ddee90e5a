//go:build (amd64 || arm64) && !udpbasic

package faults_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// systemCalls are those that a socket makes, with the errnos that they return: those of
// the manual pages, of sandboxes, and of kernels without the call.
var systemCalls = []struct {
	name   string
	number uintptr
	errnos []unix.Errno
}{
	{"socket", unix.SYS_SOCKET, []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.EACCES, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT}},
	{"bind", unix.SYS_BIND, []unix.Errno{unix.EADDRINUSE, unix.EADDRNOTAVAIL, unix.EACCES, unix.EINVAL, unix.ENOMEM}},
	{"connect", unix.SYS_CONNECT, []unix.Errno{unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.EACCES, unix.EAGAIN, unix.EINVAL, unix.EPERM, unix.ENOMEM}},
	{"getsockname", unix.SYS_GETSOCKNAME, []unix.Errno{unix.ENOBUFS, unix.ENOSYS, unix.EPERM}},
	{"getpeername", unix.SYS_GETPEERNAME, []unix.Errno{unix.ENOBUFS, unix.ENOSYS, unix.EPERM}},
	{"setsockopt", unix.SYS_SETSOCKOPT, []unix.Errno{unix.ENOPROTOOPT, unix.EPERM, unix.ENOMEM, unix.EINVAL, unix.ENOSYS}},
	{"getsockopt", unix.SYS_GETSOCKOPT, []unix.Errno{unix.ENOPROTOOPT, unix.EPERM, unix.ENOSYS}},
	{"recvmsg", unix.SYS_RECVMSG, readErrnos},
	{"recvmmsg", unix.SYS_RECVMMSG, readErrnos},
	{"sendto", unix.SYS_SENDTO, sendErrnos},
	{"sendmsg", unix.SYS_SENDMSG, sendErrnos},
	{"sendmmsg", unix.SYS_SENDMMSG, sendErrnos},
	{"epoll_ctl", unix.SYS_EPOLL_CTL, []unix.Errno{unix.ENOMEM, unix.ENOSPC}},
}

var (
	readErrnos = []unix.Errno{unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENOMEM, unix.ENOBUFS,
		unix.ENETDOWN, unix.EPERM, unix.ENOSYS, unix.EINVAL, unix.EIO, unix.EMSGSIZE}
	sendErrnos = []unix.Errno{unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES,
		unix.EPERM, unix.ENOBUFS, unix.ENOMEM, unix.EMSGSIZE, unix.ENETDOWN, unix.EADDRNOTAVAIL, unix.EINVAL, unix.EIO, unix.ENOSYS}
)

const callsSubject = "UDP_TEST_SYSTEM_CALLS"

// subject is the process whose calls fail. It opens a socket, uses it, and checks that
// it works again or has stopped, at its parent's command.
func subject(t *testing.T, peer string) {
	ctx := context.Background()
	in := bufio.NewScanner(os.Stdin)
	warm, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", udp.BaseHandler{}) // the poller's descriptors
	require.NoError(t, err)
	sockettest.Stop(t, warm)
	listener, err := supervised()
	if err != nil {
		reply("skip %v", err)
		return
	}
	var c *udp.Conn
	var got atomic.Int64
	open := func(kind string) (err error) {
		h := udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got.Add(1) })
		switch kind {
		case "Listen":
			c, err = udp.Listen(ctx, "udp4", "127.0.0.1:0", h)
		case "PeerErrors":
			c, err = udp.Config{PeerErrors: true}.Listen(ctx, "udp4", "127.0.0.1:0", h)
		case "Dial":
			var d *udp.ConnectedConn
			if d, err = udp.Dial(ctx, "udp4", peer, h); err == nil {
				c = d.Conn
			}
		}
		return err
	}
	to, err := net.ResolveUDPAddr("udp4", peer)
	require.NoError(t, err)
	exercise := func() {
		_ = c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		at := to.AddrPort()
		_ = c.SendTo([]byte("one"), at)
		var ms []udp.Message
		for i := range 6 { // two lengths: segments, and messages of their own
			ms = append(ms, udp.Message{Data: []byte("message"[:3+i/2]), To: at})
		}
		_, _ = c.SendBatch(ms)
		_ = c.Enqueue(udp.Message{Data: []byte("later"), To: at})
		_ = c.Flush()
	}
	before, early := 0, 0
	fmt.Println("> listener", listener)
	for in.Scan() {
		command, argument, _ := strings.Cut(in.Text(), " ")
		switch command {
		case "open":
			before = sockettest.Descriptors(t)
			c = nil
			switch err := open(argument); {
			case err == nil:
				reply("open")
			default:
				var op *net.OpError
				reply("failed %v %v", errors.As(err, &op), err)
			}
		case "use":
			early = int(got.Load())
			exercise()
			for end := time.Now().Add(3 * time.Millisecond); time.Now().Before(end) && int(got.Load()) < early+8; {
				time.Sleep(100 * time.Microsecond)
			}
			reply("used")
		case "check":
			problem, result := "", "not opened"
			if c != nil {
				result = "works again"
				works := false
				for end := time.Now().Add(10 * time.Second); !works && time.Now().Before(end); {
					if c.Err() != nil {
						break
					}
					n := got.Load()
					_ = c.SetWriteDeadline(time.Time{})
					exercise()
					for wait := time.Now().Add(100 * time.Millisecond); !works && time.Now().Before(wait); {
						if works = got.Load() > n; !works {
							time.Sleep(100 * time.Microsecond)
						}
					}
				}
				switch {
				case c.Err() != nil:
					result = "stopped: " + c.Err().Error()
				case !works:
					problem = "open, but does not work"
				}
				_ = c.Close()
				<-c.Done()
				if st, f := c.Stats(), c.Stats().SendFailed; st.Received != st.Handled+st.Dropped.Total() ||
					st.SendErrors != f.TooLarge+f.Family+f.NoBuffers+f.Unreachable+f.Denied+f.Deadline+f.Closed+f.Other {
					problem += " counters: " + st.String()
				}
			}
			if after := sockettest.Descriptors(t); after != before {
				problem += fmt.Sprintf(" %d descriptors instead of %d", after, before)
			}
			if problem != "" {
				reply("WRONG %s", problem)
			} else {
				reply("%s", result)
			}
		}
	}
}

// Any system call may fail, with any errno, once or permanently. Then a socket is not opened, and
// a *net.OpError has the cause; or it works again after the fault; or it stops with the reason.
// Its counters agree and no descriptor is left.
func TestEverySystemCallMayFail(t *testing.T) {
	if peer := os.Getenv(callsSubject); peer != "" {
		subject(t, peer)
		return
	}
	process := newSupervised(t, callsSubject, echoServer(t))
	s, ask := process.supervisor, process.ask
	wrong, tried := 0, 0
	kinds := []string{"Listen", "PeerErrors", "Dial"}
	if testing.Short() {
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		for _, call := range systemCalls {
			for _, errno := range call.errnos {
				table := map[string]int{} // outcomes
				record := func(what, outcome string) {
					tried++
					if strings.HasPrefix(outcome, "WRONG") || strings.HasPrefix(outcome, "failed false") {
						wrong++
						t.Errorf("%s, %s %s: %v: %s", kind, what, call.name, errno, outcome)
					}
					if strings.HasPrefix(outcome, "failed true") {
						outcome = "not opened, with the reason"
					}
					table[outcome]++
				}
				// Each of the calls that open the socket in turn, and then all.
				for from := 0; from < 60; from++ {
					last := from == 59
					times := 1
					if last {
						times = -1
						s.arm(call.number, errno, 0, times)
					} else {
						s.arm(call.number, errno, from, times)
					}
					opened := ask("open " + kind)
					hit := s.disarm()
					end := ask("check")
					switch {
					case hit == 0 && !last:
						from = 58 // there are no more of them
						continue
					case hit == 0:
						continue
					}
					if strings.HasPrefix(opened, "failed") {
						if !strings.Contains(opened, errno.Error()) && errno != unix.EAFNOSUPPORT {
							opened = "WRONG reason: " + opened
						}
						if strings.HasPrefix(end, "WRONG") {
							opened = end
						}
						record("opening,", opened)
					} else {
						record("opening,", "opened, "+end)
					}
				}
				// While it is used: once, a few times, permanently.
				for _, times := range []int{1, 3, -1} {
					if errno == unix.EINTR && times < 0 {
						continue // package net repeats such a send for ever
					}
					if opened := ask("open " + kind); opened != "open" {
						t.Fatalf("without a fault: %s", opened)
					}
					s.arm(call.number, errno, 0, times)
					ask("use")
					hit := s.disarm()
					if end := ask("check"); hit > 0 || strings.HasPrefix(end, "WRONG") {
						record("using,", end)
					}
				}
				names := make([]string, 0, len(table))
				for outcome, n := range table {
					names = append(names, fmt.Sprintf("%d %s", n, outcome))
				}
				slices.Sort(names)
				t.Logf("%-10s %-11s %-40s %s", kind, call.name, errno, strings.Join(names, "; "))
			}
		}
	}
	t.Logf("%d faults, %d wrong", tried, wrong)
	process.end(t)
	require.Greater(t, tried, 100)
}
