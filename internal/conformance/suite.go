// Package conformance checks that a network keeps the promises of package udp. The tests of
// package udp run it over the kernel's sockets, those of package udptest over simulated ones.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/udpkit/udp"
)

// A Suite is the network that the promises are checked on: two hosts that reach each other.
// A and B may be the same host.
type Suite struct {
	Network string // udp, udp4 or udp6
	A, B    Side

	// Group is a multicast group that A and B can join on Interface. The zero Addr skips the
	// promises about multicast; a nil Interface leaves the choice to the system.
	Group     netip.Addr
	Interface *net.Interface

	// Other is an address that nobody sends from; Broadcast reaches B. The zero Addr skips
	// the promises that need it.
	Other, Broadcast netip.Addr

	// Second is another address of B, and IPv6 an IPv6 address of B when Network is "udp".
	// The zero Addr skips the promises that need it.
	Second, IPv6 netip.Addr

	// Coalesces: the datagrams of a segmented send arrive together where both sides can.
	Coalesces bool

	// Slow limits the rate from A to B, so that a small write buffer is full for a second.
	// SetDown takes B's interface down, or up. Nil skips the promises that need it.
	Slow    func()
	SetDown func(down bool)

	// Settle returns when everything that was sent has arrived. It is nil on a kernel's
	// loopback interface.
	Settle func()
}

// A Side is one of the two hosts.
type Side struct {
	Config udp.Config
	Addr   netip.Addr
	// Make, unless nil, opens the sockets, which are then adopted.
	Make func(network, address string) (*net.UDPConn, error)
}

// Run checks every promise of package udp that can be observed from outside. It calls setup
// for each, to get a network of its own. The checks run inside bubble, which is
// [testing/synctest.Test] or [RealTime]; setup must not call [testing.T.Run].
func Run(t *testing.T, bubble func(*testing.T, func(*testing.T)), setup func(*testing.T) Suite) {
	for _, p := range promises() {
		t.Run(p.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) { p.check(&trial{T: t, Suite: setup(t)}) })
		})
	}
}

// RealTime calls f. It is the bubble of a [Run] over the kernel.
func RealTime(t *testing.T, f func(*testing.T)) { f(t) }

// promises returns what Run checks, by topic.
func promises() []promise {
	return slices.Concat(
		callbackPromises, datagramPromises, familyPromises, queuePromises, connectedPromises, refusalPromises,
		multicastPromises, membershipPromises, infoPromises, closingPromises,
	)
}

type promise struct {
	name  string
	check func(t *trial)
}

// A trial is one promise under test.
type trial struct {
	*testing.T
	Suite
}

// patience is how long a trial waits for an event before it fails.
const patience = time.Minute

// settle waits until what was sent has arrived. On a slow machine a datagram over loopback
// waits in the kernel after the call that sent it, so one more follows it to its end.
func (t *trial) settle() {
	t.Helper()
	if t.Settle != nil {
		t.Settle()
		return
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	t.ok(err)
	defer c.Close()
	_, err = c.WriteTo([]byte("last"), c.LocalAddr())
	t.ok(err)
	t.ok(c.SetReadDeadline(time.Now().Add(patience)))
	_, err = c.Read(make([]byte, 4))
	t.ok(err)
}

// ok fails for an error.
func (t *trial) ok(err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// is fails unless err is target.
func (t *trial) is(err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("the error is %v, and should be %v", err, target)
	}
	if op := new(net.OpError); !errors.As(err, &op) {
		t.Fatalf("%v is no *net.OpError", err)
	}
}

// handled checks the counters of a socket whose callbacks have returned.
func (t *trial) handled(c *udp.Conn, n uint64) {
	t.Helper()
	s := c.Stats()
	equal(t, "received", s.Received, s.Handled+s.Dropped.Total())
	equal(t, "handled", s.Handled, n)
}

func equal[T comparable](t *trial, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, and should be %v", what, got, want)
	}
}

// on opens a socket on a side.
func (t *trial) on(s Side, network, host string, h udp.Handler, change ...func(*udp.Config)) *udp.Conn {
	t.Helper()
	address := net.JoinHostPort(host, "0")
	cfg := s.Config
	for _, f := range change {
		f(&cfg)
	}
	var c *udp.Conn
	var err error
	if s.Make != nil && !cfg.ReuseAddr {
		var uc *net.UDPConn
		uc, err = s.Make(network, address)
		t.ok(err)
		c, err = cfg.Adopt(uc, h)
	} else {
		c, err = cfg.Listen(context.Background(), network, address, h)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	t.ok(err)
	t.Cleanup(func() { c.Close() })
	return c
}

// listen opens a socket bound to all addresses of B.
func (t *trial) listen(h udp.Handler, change ...func(*udp.Config)) *udp.Conn {
	t.Helper()
	return t.on(t.B, t.Network, "", h, change...)
}

// open opens a socket bound to the address of A.
func (t *trial) open(h udp.Handler, change ...func(*udp.Config)) *udp.Conn {
	t.Helper()
	return t.on(t.A, t.Network, t.A.Addr.String(), h, change...)
}

// dial connects a socket of A to one of B.
func (t *trial) dial(c *udp.Conn, h udp.Handler) *udp.ConnectedConn {
	t.Helper()
	return t.dialTo(t.at(c), h)
}

// dialTo connects a socket of A to an address.
func (t *trial) dialTo(to netip.AddrPort, h udp.Handler) *udp.ConnectedConn {
	t.Helper()
	if t.A.Make != nil {
		cc, err := t.on(t.A, t.Network, "", h).Connect(to)
		t.ok(err)
		return cc
	}
	cc, err := t.A.Config.Dial(context.Background(), t.Network, to.String(), h)
	t.ok(err)
	t.Cleanup(func() { cc.Close() })
	return cc
}

// at returns the address and port of a socket of B.
func (t *trial) at(c *udp.Conn) netip.AddrPort {
	return netip.AddrPortFrom(t.B.Addr, c.LocalAddrPort().Port())
}

// closedPort returns a port of B that refuses datagrams. A connected socket occupies it, so
// that the system assigns it to no other socket meanwhile.
func (t *trial) closedPort() netip.AddrPort {
	t.Helper()
	c := t.listen(udp.BaseHandler{})
	to := t.at(c)
	_, err := c.Connect(netip.AddrPortFrom(t.A.Addr, 9))
	t.ok(err)
	return to
}

func (t *trial) send(c *udp.Conn, to netip.AddrPort, texts ...string) {
	t.Helper()
	for _, text := range texts {
		t.ok(c.SendTo([]byte(text), to))
	}
}

// A witness is a Handler that records its callbacks, and fails the test when two run at the
// same time. Received blocks on the gate, unless that is nil.
type witness struct {
	t      *trial
	events chan event
	gate   chan struct{}
	then   func(c *udp.Conn, e event)

	busy    atomic.Int32
	mu      sync.Mutex
	stopped int
}

type event struct {
	kind    string
	text    string
	d       udp.Datagram // its Data is a copy
	refusal *udp.Refusal
	err     error
}

func (t *trial) witness() *witness { return &witness{t: t, events: make(chan event, 5000)} }

func (w *witness) tell(c *udp.Conn, e event) {
	if w.busy.Add(1) != 1 {
		w.t.Error("two callbacks of one socket at the same time")
	}
	defer w.busy.Add(-1)
	w.mu.Lock()
	if w.stopped > 0 {
		w.t.Errorf("%s came after Stopped", e.kind)
	}
	if e.kind == "Stopped" {
		w.stopped++
	}
	w.mu.Unlock()
	w.events <- e
	if w.then != nil {
		w.then(c, e)
	}
}

func (w *witness) Started(c *udp.Conn) { w.tell(c, event{kind: "Started"}) }

func (w *witness) Received(c *udp.Conn, d udp.Datagram) {
	d = d.Clone()
	w.tell(c, event{kind: "Received", text: string(d.Data), d: d})
	if w.gate != nil {
		<-w.gate
	}
}

func (w *witness) Refused(c *udp.Conn, r *udp.Refusal) {
	w.tell(c, event{kind: "Refused", refusal: r})
}

func (w *witness) Stopped(c *udp.Conn, err error) { w.tell(c, event{kind: "Stopped", err: err}) }

// next waits for the next callback, which must be of the given kind.
func (w *witness) next(kind string) event {
	w.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case e := <-w.events:
			if e.kind == "Started" && kind != "Started" {
				continue
			}
			if e.kind != kind {
				w.t.Fatalf("%s came (%q), and not %s", e.kind, e.text, kind)
			}
			return e
		case <-timeout.C:
			w.t.Fatalf("%s never came", kind)
		}
	}
}

// receives waits for datagrams with these payloads, in order.
func (w *witness) receives(texts ...string) {
	w.t.Helper()
	for i, want := range texts {
		if e := w.next("Received"); e.text != want {
			w.t.Fatalf("datagram %d is %.40q, and should be %.40q", i+1, e.text, want)
		}
	}
}

// quiet fails if there was a callback that no next or receives has consumed.
func (w *witness) quiet() {
	w.t.Helper()
	for {
		select {
		case e := <-w.events:
			if e.kind != "Started" {
				w.t.Fatalf("%s came too: %.40q", e.kind, e.text)
			}
		default:
			return
		}
	}
}

// rest waits until the counters of a socket agree and enough is true for them.
func (t *trial) rest(c *udp.Conn, enough func(s udp.Stats) bool) udp.Stats {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s := c.Stats()
		if s.Received == s.Handled+s.Dropped.Total() && enough(s) {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("the counters never agreed: %+v", s)
		}
	}
}

func numbered(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}
