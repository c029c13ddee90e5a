//go:build (amd64 || arm64) && !udpbasic

package faults_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// trial is one call of an operation, whose system calls may fail.
type trial struct {
	peer, other netip.AddrPort // both send back what they receive
	group       netip.Addr
	lo          *net.Interface

	conns  []*udp.Conn // must work afterwards
	member *udp.MulticastConn
	opened []*net.UDPConn // the same, of package net
	got    atomic.Int64   // datagrams
}

// Received and the next methods make a trial a Handler.
func (x *trial) Received(*udp.Conn, udp.Datagram) { x.got.Add(1) }
func (x *trial) Refused(*udp.Conn, *udp.Refusal)  {}
func (x *trial) Started(*udp.Conn)                {}
func (x *trial) Stopped(*udp.Conn, error)         {}

func (x *trial) add(c *udp.Conn, err error) error {
	if err == nil {
		x.conns = append(x.conns, c)
	}
	return err
}

func (x *trial) listen() error {
	return x.add(udp.Listen(context.Background(), "udp4", "127.0.0.1:0", x))
}

func (x *trial) dial() error {
	c, err := udp.Dial(context.Background(), "udp4", x.peer.String(), x)
	if err != nil {
		return err
	}
	return x.add(c.Conn, nil)
}

func (x *trial) listenMulticast(groups ...netip.Addr) (err error) {
	x.member, err = udp.ListenMulticast(context.Background(), "udp4", ":0", x, groups...)
	if err != nil {
		return err
	}
	return x.add(x.member.Conn, nil)
}

func (x *trial) connected() *udp.ConnectedConn { return &udp.ConnectedConn{Conn: x.conns[0]} }

// operation is a call, and what has to be done before it.
type operation struct {
	name    string
	prepare func(x *trial) error
	call    func(x *trial) error
}

var errUnexpected = errors.New("WRONG result")

// operations are the calls that make system calls, except those that open a single socket, and
// the calls that open several.
var operations = []operation{
	{"ListenMulticast", func(*trial) error { return nil }, func(x *trial) error { return x.listenMulticast(x.group) }},
	{"ListenGroup", func(*trial) error { return nil }, func(x *trial) error {
		g, err := udp.Config{}.ListenGroup(context.Background(), 2, "udp4", "127.0.0.1:0", func(int) udp.Handler { return x })
		if err == nil {
			x.conns = append(x.conns, g.Conns()[0])
			x.conns = append(x.conns, g.Conns()[1:]...)
		}
		return err
	}},
	{"Adopt", func(x *trial) error { return nil }, func(x *trial) error {
		uc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		return x.add(udp.Config{}.Adopt(uc, x))
	}},
	{"Join", func(x *trial) error { return x.listenMulticast() }, func(x *trial) error {
		m := x.member
		err := m.Join(x.group, x.lo)
		if now := m.Memberships(); err == nil && (len(now) != 1 || !now[0].Held()) {
			return fmt.Errorf("%w: memberships %v", errUnexpected, now)
		}
		return err
	}},
	{"Leave", func(x *trial) error { return x.listenMulticast(x.group) }, func(x *trial) error {
		m := x.member
		err := m.Leave(x.group)
		if n := len(m.Memberships()); err == nil && n != 0 {
			return fmt.Errorf("%w: %d memberships are left", errUnexpected, n)
		}
		return err
	}},
	{"Connect", (*trial).listen, func(x *trial) error {
		c, err := x.conns[0].Connect(x.other)
		if err == nil && c.RemoteAddrPort() != x.other {
			return fmt.Errorf("%w: peer %v", errUnexpected, c.RemoteAddrPort())
		}
		return err
	}},
	{"Reconnect", (*trial).dial, func(x *trial) error {
		err := x.connected().Reconnect(x.other)
		want := x.other
		if err != nil {
			want = x.peer
		}
		if now := x.connected().RemoteAddrPort(); now != want {
			return fmt.Errorf("%w: peer %v after %w", errUnexpected, now, err)
		}
		return err
	}},
	{"Disconnect", (*trial).dial, func(x *trial) error {
		_, err := x.connected().Disconnect()
		if _, connected := x.conns[0].Connected(); connected != (err != nil) {
			return fmt.Errorf("%w: connected %v after %w", errUnexpected, connected, err)
		}
		return err
	}},
	{"SendBatch", (*trial).listen, func(x *trial) error {
		c := x.conns[0]
		var ms []udp.Message
		for i := range 8 { // two lengths and two peers: segments, and messages of their own
			to := x.peer
			if i%4 == 3 {
				to = x.other
			}
			ms = append(ms, udp.Message{Data: []byte("message"[:3+i/4]), To: to})
		}
		before := c.Stats()
		n, err := c.SendBatch(ms)
		after, failed := c.Stats(), 0
		if batch, ok := errors.AsType[*udp.BatchError](err); ok {
			failed = len(batch.Failed) + batch.Untried
		}
		if n+failed != len(ms) || int(after.Sent-before.Sent) != n {
			return fmt.Errorf("%w: sent %d, counted %d, failed %d of %d: %w", errUnexpected, n, after.Sent-before.Sent, failed, len(ms), err)
		}
		return err
	}},
	{"Detach", (*trial).listen, func(x *trial) error {
		uc, err := x.conns[0].Detach()
		if err == nil {
			x.conns, x.opened = nil, append(x.opened, uc)
		}
		return err
	}},
	{"Shutdown", (*trial).listen, func(x *trial) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := x.conns[0].Shutdown(ctx)
		select {
		case <-x.conns[0].Done():
		default:
			return fmt.Errorf("%w: not closed after %w", errUnexpected, err)
		}
		return err
	}},
}

// reason reports whether an error has the cause: the errno, or what the call makes of it.
func reason(err error, errno unix.Errno) bool {
	_, isOp := errors.AsType[*net.OpError](err)
	_, isBatch := errors.AsType[*udp.BatchError](err)
	switch {
	case errors.Is(err, errUnexpected), !isOp && !isBatch:
		return false
	case waitsForRoom(errno) && errors.Is(err, os.ErrDeadlineExceeded), errno == unix.EAFNOSUPPORT:
		return true
	}
	return errors.Is(err, errno)
}

// waitsForRoom says whether a send that fails with errno is tried again until its deadline.
func waitsForRoom(errno unix.Errno) bool {
	return errno == unix.EAGAIN || errno == unix.ENOBUFS || errno == unix.ENOMEM
}

// works checks that a socket sends and receives, or has stopped with the reason.
func (x *trial) works(c *udp.Conn) string {
	_ = c.SetWriteDeadline(time.Time{})
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		select {
		case <-c.Done():
			if c.Err() == nil {
				return "closed"
			}
		default:
		}
		if err := c.Err(); err != nil {
			return "stopped: " + err.Error()
		}
		n := x.got.Load()
		if connected, ok := c.Connected(); ok {
			_ = connected.Send([]byte("alive"))
		} else {
			_ = c.SendTo([]byte("alive"), x.peer)
		}
		for wait := time.Now().Add(100 * time.Millisecond); time.Now().Before(wait); time.Sleep(50 * time.Microsecond) {
			if x.got.Load() > n {
				return "works"
			}
		}
	}
	return "WRONG: open, but does not work"
}

// result closes everything and returns the outcome.
func (x *trial) result() string {
	result := "nothing is open"
	for _, c := range x.conns {
		if result = x.works(c); strings.HasPrefix(result, "WRONG") {
			break
		}
	}
	for _, uc := range x.opened {
		result = "works"
		b := make([]byte, 10)
		_ = uc.SetDeadline(time.Now().Add(20 * time.Second))
		_, err := uc.WriteToUDPAddrPort([]byte("alive"), x.peer)
		if err == nil {
			_, _, err = uc.ReadFromUDPAddrPort(b)
		}
		if err != nil {
			result = "WRONG: " + err.Error()
		}
		uc.Close()
	}
	for _, c := range x.conns {
		_ = c.Close()
		<-c.Done()
		st := c.Stats()
		if f := st.SendFailed; st.Received != st.Handled+st.Dropped.Total() ||
			st.SendErrors != f.TooLarge+f.Family+f.NoBuffers+f.Unreachable+f.Denied+f.Deadline+f.Closed+f.Other {
			result = "WRONG: counters: " + st.String()
		}
	}
	return result
}

// openFiles counts the descriptors of this process.
func openFiles(t *testing.T) int {
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(fds)
}

const operationsSubject = "UDP_TEST_OPERATIONS"

// operationsOf is the process whose calls fail.
func operationsOf(t *testing.T, peers string) {
	first, second, _ := strings.Cut(peers, " ")
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	warm, err := udp.ListenMulticast(context.Background(), "udp4", ":0", udp.BaseHandler{}) // the poller's descriptors
	require.NoError(t, err)
	sockettest.Stop(t, warm)
	listener, err := supervised()
	if err != nil {
		reply("skip %v", err)
		return
	}
	var x *trial
	var errno unix.Errno
	var op *operation
	var descriptors, goroutines int
	reply("listener %d", listener)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch command, argument, _ := strings.Cut(in.Text(), " "); command {
		case "prepare":
			var name string
			_, err := fmt.Sscan(argument, &name, (*uintptr)(&errno))
			require.NoError(t, err)
			op = &operations[slices.IndexFunc(operations, func(o operation) bool { return o.name == name })]
			x = &trial{peer: netip.MustParseAddrPort(first), other: netip.MustParseAddrPort(second), group: netip.MustParseAddr("239.1.2.3"), lo: lo}
			descriptors, goroutines = openFiles(t), runtime.NumGoroutine()
			require.NoError(t, op.prepare(x))
			wait := 20 * time.Second
			if waitsForRoom(errno) {
				wait = 20 * time.Millisecond
			}
			for _, c := range x.conns {
				_ = c.SetWriteDeadline(time.Now().Add(wait))
			}
			reply("ready")
		case "call":
			switch err := op.call(x); {
			case err == nil:
				reply("succeeded")
			case reason(err, errno):
				reply("failed with the reason")
			default:
				reply("WRONG %v", err)
			}
		case "check":
			result := x.result()
			for end := time.Now().Add(20 * time.Second); openFiles(t) != descriptors || runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					result = fmt.Sprintf("WRONG: %d descriptors instead of %d, %d goroutines instead of %d", openFiles(t), descriptors, runtime.NumGoroutine(), goroutines)
					break
				}
			}
			reply("%s", result)
		}
	}
}

// Any system call may fail during an operation, with any errno, once or permanently. The
// operation still succeeds, or fails with a *net.OpError that has the cause. The socket works
// afterwards, or has stopped with the reason. Nothing leaks.
func TestEveryOperationSurvivesFaults(t *testing.T) {
	if peers := os.Getenv(operationsSubject); peers != "" {
		operationsOf(t, peers)
		return
	}
	netns.Isolated(t, func() {
		netns.Self(t).IP("link set lo multicast on")
		netns.Self(t).IP("route add 239.0.0.0/8 dev lo")
		p := newSupervised(t, operationsSubject, echoServer(t)+" "+echoServer(t))
		wrong, tried := 0, 0
		for _, op := range operations {
			for _, call := range systemCalls {
				for _, errno := range call.errnos {
					table := map[string]int{} // outcomes
					// Each of the first calls in turn, then all of them.
					const positions = 12
					for from := 0; from <= positions; from++ {
						forGood := from == positions
						if forGood && errno == unix.EINTR {
							break // package net repeats such a send for ever
						}
						require.Equal(t, "ready", p.ask(fmt.Sprintf("prepare %s %d", op.name, uintptr(errno))))
						if forGood {
							p.arm(call.number, errno, 0, -1)
						} else {
							p.arm(call.number, errno, from, 1)
						}
						called := p.ask("call")
						hit := p.disarm()
						outcome := called + ", " + p.ask("check")
						if hit == 0 && strings.HasPrefix(outcome, "succeeded") && !strings.Contains(outcome, "WRONG") {
							if forGood || from == 0 {
								break // the operation does not make it
							}
							from = positions - 1 // there are no more of them
							continue
						}
						tried++
						closes := op.name == "Shutdown" || op.name == "Detach"
						if strings.Contains(outcome, "WRONG") || strings.HasSuffix(outcome, "closed") && !closes {
							wrong++
							t.Errorf("%s, %s %d: %v: %s", op.name, call.name, from, errno, outcome)
						}
						table[outcome]++
					}
					for _, outcome := range slices.Sorted(maps.Keys(table)) {
						t.Logf("%-15s %-11s %-40s %d %s", op.name, call.name, errno, table[outcome], outcome)
					}
					if len(table) == 0 {
						break // nor with other errnos
					}
				}
			}
		}
		t.Logf("%d faults, %d wrong", tried, wrong)
		p.end(t)
		require.Greater(t, tried, 200)
	})
}
