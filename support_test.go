package udp_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// patience is how long a test waits for what must happen before it fails.
// Nothing is ever concluded from a wait that was shorter.
const patience = time.Minute

// closable is what can be closed, whatever its view.
type closable interface {
	Close() error
	Done() <-chan struct{}
}

// stop closes a socket and waits until its last callback has returned.
func stop(t testing.TB, c closable) {
	t.Helper()
	assert.NoError(t, c.Close())
	next(t, c.Done())
}

// closes closes the sockets when the test ends, in the order given, waits for them,
// and checks that their counters agree.
func closes[C interface {
	closable
	Stats() udp.Stats
}](t testing.TB, conns ...C) {
	t.Helper()
	t.Cleanup(func() {
		for _, c := range conns {
			stop(t, c)
			balanced(t, c.Stats())
		}
	})
}

// newWorkers makes Workers of a valid configuration.
func newWorkers(t testing.TB, cfg udp.WorkersConfig) *udp.Workers {
	t.Helper()
	w, err := udp.NewWorkers(cfg)
	require.NoError(t, err)
	return w
}

// balanced checks that every datagram of a stopped socket is accounted for.
func balanced(t testing.TB, s udp.Stats) {
	t.Helper()
	assert.Equal(t, s.Received, s.Handled+s.Dropped.Total(), "received is handled and dropped: %+v", s)
	f := s.SendFailed
	assert.Equal(t, s.SendErrors, f.TooLarge+f.Family+f.NoBuffers+f.Unreachable+f.Denied+f.Deadline+f.Closed+f.Other,
		"every failed send has a reason: %+v", s)
}

// event is a callback that a recorder got.
type event struct {
	name string // Started, Received, Refused, Stopped
	conn *udp.Conn
	data string
	d    udp.Datagram // a clone
	r    *udp.Refusal
	err  error
}

// recorder is a Handler that records its callbacks, and runs in each what the test
// wants beside that.
type recorder struct {
	started  func(*udp.Conn)
	received func(*udp.Conn, udp.Datagram)
	refused  func(*udp.Conn, *udp.Refusal)
	stopped  func(*udp.Conn, error)

	events  chan event
	running atomic.Int32
	overlap atomic.Bool // callbacks have run at the same time
}

func newRecorder() *recorder { return &recorder{events: make(chan event, 10_000)} }

func (r *recorder) enter(e event) (leave func()) {
	if r.running.Add(1) != 1 {
		r.overlap.Store(true)
	}
	r.events <- e
	return func() { r.running.Add(-1) }
}

func (r *recorder) Started(c *udp.Conn) {
	defer r.enter(event{name: "Started", conn: c})()
	if r.started != nil {
		r.started(c)
	}
}

func (r *recorder) Received(c *udp.Conn, d udp.Datagram) {
	defer r.enter(event{name: "Received", conn: c, data: string(d.Data), d: d.Clone()})()
	if r.received != nil {
		r.received(c, d)
	}
}

func (r *recorder) Refused(c *udp.Conn, f *udp.Refusal) {
	defer r.enter(event{name: "Refused", conn: c, r: f})()
	if r.refused != nil {
		r.refused(c, f)
	}
}

func (r *recorder) Stopped(c *udp.Conn, err error) {
	defer r.enter(event{name: "Stopped", conn: c, err: err})()
	if r.stopped != nil {
		r.stopped(c, err)
	}
}

// next takes the next callback, which must be the named one.
func (r *recorder) next(t testing.TB, name string) event {
	t.Helper()
	e := next(t, r.events)
	require.Equal(t, name, e.name, "%+v", e)
	return e
}

// names are those of the callbacks that nobody has taken, in order.
func (r *recorder) names() (ns []string) {
	for {
		select {
		case e := <-r.events:
			ns = append(ns, e.name)
		default:
			return ns
		}
	}
}

// recorderOf is a Handler of two functions that remembers nothing.
type recorderOf struct {
	udp.BaseHandler
	received func(*udp.Conn, udp.Datagram)
	refused  func(*udp.Conn, *udp.Refusal)
}

func (r *recorderOf) Received(c *udp.Conn, d udp.Datagram) { r.received(c, d) }
func (r *recorderOf) Refused(c *udp.Conn, f *udp.Refusal)  { r.refused(c, f) }

// newGate makes a channel for callbacks to wait on. Tests defer open, so that a failure
// does not leave the callbacks waiting.
func newGate() (gate <-chan struct{}, open func()) {
	ch := make(chan struct{})
	return ch, sync.OnceFunc(func() { close(ch) })
}

// next receives from ch, or fails the test after a long time.
func next[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
	}
	return v
}

// requireSupported skips the test if err says that the system can't do what it needs, and
// fails it for every other error.
func requireSupported(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// listen makes a socket on loopback that the test closes.
func listen(t testing.TB, cfg udp.Config, network string, h udp.Handler) *udp.Conn {
	t.Helper()
	c, err := cfg.Listen(t.Context(), network, loopback(network)+":0", h)
	require.NoError(t, err)
	closes(t, c)
	return c
}

// dial makes a connected socket that the test closes.
func dial(t testing.TB, peer netip.AddrPort, h udp.Handler) *udp.ConnectedConn {
	t.Helper()
	c, err := udp.Dial(t.Context(), "udp", peer.String(), h)
	require.NoError(t, err)
	closes(t, c)
	return c
}

// loopback is the address of loopback for a network, fit for "host:port".
func loopback(network string) string {
	if network == "udp6" {
		return "[::1]"
	}
	return "127.0.0.1"
}

// networks are those that this machine has on loopback.
func networks(t testing.TB) []string {
	t.Helper()
	pc, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Log("no IPv6 here:", err)
		return []string{"udp4"}
	}
	pc.Close()
	return []string{"udp4", "udp6"}
}

// deadPort is an address of loopback on which nobody listens, as long as the
// test runs: see holdPort.
func deadPort(t testing.TB, network string) netip.AddrPort {
	t.Helper()
	at, _ := holdPort(t, network)
	return at
}

// holdPort is an address of loopback on which nobody listens until revive is
// called. A socket with a peer has the port: it is deaf to everybody else, and
// neither another program nor a socket of the test can be given it meanwhile.
func holdPort(t testing.TB, network string) (at netip.AddrPort, revive func() *net.UDPConn) {
	t.Helper()
	ip := netip.MustParseAddr(strings.Trim(loopback(network), "[]"))
	holder, err := net.DialUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)),
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 9)))
	require.NoError(t, err)
	t.Cleanup(func() { holder.Close() })
	at = addrPort(holder)
	return at, func() *net.UDPConn {
		// Not required: Started calls it on a goroutine of its own too.
		assert.NoError(t, holder.Close())
		listener, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(at))
		if assert.NoError(t, err) {
			t.Cleanup(func() { listener.Close() })
			assert.NoError(t, listener.SetReadDeadline(time.Now().Add(patience)))
		}
		return listener
	}
}

// raw is a socket of package net on loopback, to look from outside.
func raw(t testing.TB, network string) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenPacket(network, loopback(network)+":0")
	require.NoError(t, err)
	t.Cleanup(func() { pc.Close() })
	uc := pc.(*net.UDPConn)
	require.NoError(t, uc.SetReadDeadline(time.Now().Add(patience)))
	return uc
}

// addrPort is the address of a socket of package net.
func addrPort(uc *net.UDPConn) netip.AddrPort {
	a := uc.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// read reads one datagram of a socket of package net.
func read(t testing.TB, uc *net.UDPConn) (data string, from netip.AddrPort) {
	t.Helper()
	b := make([]byte, 65536)
	n, a, err := uc.ReadFromUDPAddrPort(b)
	require.NoError(t, err)
	return string(b[:n]), netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// requireOpError checks that err is the *net.OpError that package net would give.
func requireOpError(t testing.TB, err error, op string) *net.OpError {
	t.Helper()
	var oe *net.OpError
	require.ErrorAs(t, err, &oe)
	require.Equal(t, op, oe.Op, "%v", err)
	require.False(t, slices.Contains([]string{"", "<nil>"}, oe.Error()))
	var inner *net.OpError
	require.NotErrorAs(t, oe.Err, &inner, "one net.OpError only")
	return oe
}

// done ends a context at once.
func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// quiet logs nothing, where panics are expected.
var quiet = slog.New(slog.DiscardHandler)

// errUnsupported is what an operating system can't do.
var errUnsupported = errors.ErrUnsupported
