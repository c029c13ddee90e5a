//go:build unix

package udp_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

// calls interprets bytes as calls on a few sockets, and compares what they return with
// a model of each socket: whether it is open, its peer and its groups.
type calls struct {
	t       *testing.T
	program []byte
	hosts   []*udptest.Host
	sockets []*modelled
	log     []string
}

// modelled is a socket and what the model knows of it.
type modelled struct {
	host     *udptest.Host
	network  string
	conn     *udp.Conn
	groups   *udp.MulticastConn // nil: it can't join
	joined   map[netip.Addr]bool
	peer     netip.AddrPort // invalid: none
	closed   bool
	received atomic.Int64 // that the consumer got
	attempts atomic.Int64 // datagrams that were to be sent
	counting bool         // received is all that was handled
}

// has reports whether the socket is of an address's family.
func (m *modelled) has(a netip.Addr) bool {
	return m.network == "udp" || a.Is4() == (m.network == "udp4")
}

// next takes a byte off the program; after its end they are zero.
func (x *calls) next(below int) int {
	if len(x.program) == 0 {
		return 0
	}
	b := x.program[0]
	x.program = x.program[1:]
	return int(b) % below
}

func (x *calls) failed(format string, args ...any) {
	x.t.Helper()
	for _, line := range x.log {
		x.t.Log(line)
	}
	for _, m := range x.sockets { // or the bubble can't end
		_ = m.conn.Close()
	}
	x.t.Fatalf(format, args...)
}

func (x *calls) note(m *modelled, call string, err error) {
	x.log = append(x.log, fmt.Sprintf("socket %d: %s: %v", slices.Index(x.sockets, m), call, err))
}

// Received is the Handler's: what a datagram begins with says what to do.
func (m *modelled) Received(c *udp.Conn, d udp.Datagram) {
	m.received.Add(1)
	if len(d.Data) == 0 {
		return
	}
	switch d.Data[0] {
	case 'e':
		m.attempts.Add(1)
		_ = d.Reply([]byte("response"))
	case 's':
		m.attempts.Add(1)
		_ = c.SendTo([]byte("sent"), d.From)
	case 'p':
		m.received.Add(-1)
		panic("a handler that panics")
	case 'd':
		m.received.Add(-1)
		d.Drop()
	case 'k':
		d.Retain()
		go func() { d.Release() }()
	}
}

var payloads = []string{"", "e", "s", "p", "d", "k", "plain", "e and more"}

// open opens another socket, of any kind, with any Handler.
func (x *calls) open() {
	if len(x.sockets) == 6 {
		return
	}
	m := &modelled{host: x.hosts[x.next(len(x.hosts))], joined: map[netip.Addr]bool{}, counting: true}
	cfg := m.host.Config()
	cfg.Logger = sockettest.Quiet
	options := x.next(8)
	cfg.PeerErrors = options&1 != 0
	cfg.NoOffload = options&2 != 0
	cfg.Broadcast = options&4 != 0
	var h udp.Handler = udp.HandlerFunc(m.Received)
	switch kind := x.next(4); kind {
	case 0:
		overflow := udp.Overflow(x.next(3))
		q := udp.NewQueue(1+x.next(4), overflow)
		m.counting = overflow != udp.DropOldest
		h = q
		go func() {
			for d := range q.Datagrams() {
				m.received.Add(1)
				if len(d.Data) > 0 && d.Data[0] == 'e' {
					m.attempts.Add(1)
					_ = d.Reply([]byte("response"))
				}
				d.Release()
			}
		}()
	case 1:
		w, err := udp.NewWorkers(udp.WorkersConfig{N: 1 + x.next(3), Capacity: 1 + x.next(4), Overflow: udp.Overflow(x.next(3)), Handler: h})
		require.NoError(x.t, err)
		h = w
	}
	m.network = []string{"udp", "udp4", "udp6"}[x.next(3)]
	var err error
	if x.next(2) == 0 {
		m.conn, err = cfg.Listen(context.Background(), m.network, ":0", h)
	} else if m.groups, err = cfg.ListenMulticast(context.Background(), m.network, ":0", h); err == nil {
		m.conn = m.groups.Conn
	}
	require.NoError(x.t, err)
	x.sockets = append(x.sockets, m)
	x.note(m, "opened "+m.network, nil)
}

// address is one of a socket's, of a port nobody has, or one that can't be used.
func (x *calls) address() netip.AddrPort {
	if n := x.next(12); n < 8 {
		to := x.sockets[n%len(x.sockets)]
		ip := "10.0.0."
		if n >= 4 {
			ip = "fd00::"
		}
		return netip.AddrPortFrom(netip.MustParseAddr(ip+fmt.Sprint(1+slices.Index(x.hosts, to.host))), to.conn.LocalAddrPort().Port())
	}
	return netip.MustParseAddrPort([]string{"10.0.0.2:9", "239.1.2.3:5000", "203.0.113.1:9", "0.0.0.0:0"}[x.next(4)])
}

var (
	callErrnos = []syscall.Errno{syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.EMSGSIZE, syscall.ENOBUFS,
		syscall.EAGAIN, syscall.EPERM, syscall.ENETDOWN, syscall.EINVAL, syscall.EIO, syscall.ENOMEM, syscall.EINTR}
	callGroups = []netip.Addr{netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff05::1:3"), netip.MustParseAddr("10.0.0.9")}
)

// step makes one call.
func (x *calls) step() {
	op := x.next(20)
	if op == 0 || len(x.sockets) == 0 {
		x.open()
		return
	}
	m := x.sockets[x.next(len(x.sockets))]
	connected, _ := m.conn.Connected()
	if (connected != nil) != m.peer.IsValid() {
		x.failed("Connected: %v, the model's peer is %v", connected, m.peer)
	}
	// is checks an error that the model foresees.
	is := func(call string, err error, foreseen bool, target error) {
		x.note(m, call, err)
		if foreseen && !errors.Is(err, target) {
			x.failed("%s: %v instead of %v", call, err, target)
		}
	}
	payload := []byte(payloads[x.next(len(payloads))])
	switch op {
	case 1, 2:
		to := x.address()
		m.attempts.Add(1)
		is("SendTo "+to.String(), m.conn.SendTo(payload, to), m.closed, net.ErrClosed)
	case 3:
		to := x.address()
		m.attempts.Add(1)
		is("Enqueue "+to.String(), m.conn.Enqueue(udp.Message{Data: payload, To: to}), m.closed, net.ErrClosed)
	case 4, 5:
		ms := make([]udp.Message, 1+x.next(30))
		to := x.address()
		for i := range ms {
			if i%5 == 4 {
				to = x.address()
			}
			ms[i] = udp.Message{Data: payload, To: to}
		}
		n, err := m.conn.SendBatch(ms)
		is(fmt.Sprintf("SendBatch of %d: %d", len(ms), n), err, m.closed, net.ErrClosed)
		failures := 0
		var failed *udp.BatchError
		if errors.As(err, &failed) {
			failures = len(failed.Failed)
			if n+failures+failed.Untried != len(ms) {
				x.failed("SendBatch of %d: %d sent, %d failed, %d not tried", len(ms), n, failures, failed.Untried)
			}
		} else if n != len(ms) {
			x.failed("SendBatch of %d: %d, %v", len(ms), n, err)
		}
		m.attempts.Add(int64(n + failures))
	case 6, 7:
		to := x.address()
		_, err := m.conn.Connect(to)
		is("Connect "+to.String(), err, m.peer.IsValid(), syscall.EISCONN)
		if !m.peer.IsValid() {
			is("Connect", err, m.closed, net.ErrClosed)
		}
		if err == nil {
			m.peer = to
		}
	case 8:
		if connected == nil {
			return
		}
		to := x.address()
		err := connected.Reconnect(to)
		is("Reconnect "+to.String(), err, m.closed, net.ErrClosed)
		if err == nil {
			m.peer = to
		}
		if got := connected.RemoteAddrPort(); got != m.peer {
			x.failed("RemoteAddrPort: %v instead of %v", got, m.peer)
		}
	case 9:
		if connected == nil {
			return
		}
		_, err := connected.Disconnect()
		is("Disconnect", err, m.closed, net.ErrClosed)
		if err == nil {
			m.peer = netip.AddrPort{}
			is("Disconnect again", func() error { _, err := connected.Disconnect(); return err }(), true, syscall.ENOTCONN)
			is("Reconnect without a peer", connected.Reconnect(x.address()), true, syscall.ENOTCONN)
		}
	case 10, 11:
		group := callGroups[x.next(len(callGroups))]
		if m.groups == nil {
			return
		}
		err := m.groups.Join(group)
		is("Join "+group.String(), err, m.closed, net.ErrClosed)
		is("Join "+group.String(), err, !m.closed && !group.IsMulticast(), syscall.EINVAL)
		if err == nil {
			m.joined[group] = true
		}
	case 12:
		group := callGroups[x.next(2)]
		if m.groups == nil {
			return
		}
		err := m.groups.Leave(group)
		is("Leave "+group.String(), err, m.closed, net.ErrClosed)
		if !m.closed && !m.has(group) {
			is("Leave", err, true, udp.ErrFamily)
		} else {
			is("Leave", err, !m.closed && !m.joined[group], syscall.EADDRNOTAVAIL)
		}
		if err == nil {
			delete(m.joined, group)
		}
	case 13:
		if m.groups == nil || m.closed {
			return
		}
		if got := m.groups.Memberships(); len(got) != len(m.joined) {
			x.failed("Memberships: %v instead of %v", got, m.joined)
		}
	case 14:
		is("Close", m.conn.Close(), true, nil)
		m.closed = true
	case 15:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(x.next(3))*time.Second)
		err := m.conn.Shutdown(ctx)
		cancel()
		x.note(m, "Shutdown", err)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			x.failed("Shutdown: %v", err)
		}
		m.closed = true
	case 16:
		errno := callErrnos[x.next(len(callErrnos))]
		nth := 1 + x.next(5)
		x.note(m, fmt.Sprintf("read %d fails", nth), errno)
		m.host.FailRead(0, nth, os.NewSyscallError("recvmsg", errno))
	case 17:
		errno := callErrnos[x.next(len(callErrnos))]
		nth := 1 + x.next(5)
		x.note(m, fmt.Sprintf("send %d fails", nth), errno)
		m.host.FailSend(0, nth, os.NewSyscallError("sendmsg", errno))
	case 18:
		down := x.next(2) == 1
		x.note(m, fmt.Sprintf("its interface is down: %v", down), nil)
		m.host.Interface("eth0").SetDown(down)
	default:
		time.Sleep(time.Duration(1+x.next(50)) * time.Millisecond)
	}
}

// end closes what is open and compares the counters.
func (x *calls) end() {
	for i, m := range x.sockets {
		if !m.closed && i%2 == 0 {
			if err := m.conn.Shutdown(context.Background()); err != nil {
				x.failed("Shutdown: %v", err)
			}
		}
		if err := m.conn.Close(); err != nil {
			x.failed("Close: %v", err)
		}
	}
	for _, m := range x.sockets {
		<-m.conn.Done()
	}
	synctest.Wait() // consumers have taken what waited
	for i, m := range x.sockets {
		st, f := m.conn.Stats(), m.conn.Stats().SendFailed
		switch {
		case m.conn.Err() != nil:
			x.failed("socket %d: %v", i, m.conn.Err())
		case st.Received != st.Handled+st.Dropped.Total():
			x.failed("socket %d: received is not handled and dropped: %v", i, st)
		case m.counting && int64(st.Handled) != m.received.Load():
			x.failed("socket %d: its Handler handled %d: %v", i, m.received.Load(), st)
		case st.SendErrors != f.TooLarge+f.Family+f.NoBuffers+f.Unreachable+f.Denied+f.Deadline+f.Closed+f.Other:
			x.failed("socket %d: failed sends without a reason: %v", i, st)
		case int64(st.Sent+st.SendErrors) != m.attempts.Load():
			x.failed("socket %d: %d sends were tried: %v", i, m.attempts.Load(), st)
		}
	}
}

// Any sequence of calls and faults on simulated sockets does what a simple model of a
// socket says, hangs nowhere, leaves no goroutine, and all counters agree in the end.
//
// The seeds run as an ordinary test. For longer: go test -fuzz=FuzzCalls -fuzztime=1h .
func FuzzCalls(f *testing.F) {
	random := rand.New(rand.NewPCG(13, 5))
	programs := 60
	if testing.Short() {
		programs = 15
	}
	for range programs {
		program := make([]byte, 60+random.IntN(600))
		for i := range program {
			program[i] = byte(random.Uint32())
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 2000 {
			t.Skip("takes too long")
		}
		synctest.Test(t, func(t *testing.T) {
			n := udptest.NewNet(t, udptest.Config{Seed: uint64(len(program)), Faults: udptest.Faults{Latency: time.Millisecond}})
			x := &calls{t: t, program: program}
			for i := range 3 {
				x.hosts = append(x.hosts, n.Host(fmt.Sprint("h", i+1), fmt.Sprintf("10.0.0.%d/24", i+1), fmt.Sprintf("fd00::%d/64", i+1)))
			}
			for len(x.program) > 0 {
				x.step()
			}
			x.end()
		})
	})
}
