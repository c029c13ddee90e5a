package udptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/udpkit/udp"
)

// A Suite is what [TestNetwork] runs on: two hosts that reach one another, which
// may be one and the same.
type Suite struct {
	Network string // udp, udp4 or udp6
	A, B    Side

	// Group is one that A and B can join on Interface; the zero Addr leaves out
	// what is about multicast, and a nil Interface leaves its choice to the system.
	Group     netip.Addr
	Interface *net.Interface

	// Other is an address that nobody sends from; Broadcast reaches B. The zero
	// Addr leaves out what needs it.
	Other, Broadcast netip.Addr

	// Second is one more address of B, and IPv6 one of both when Network is "udp"; the
	// zero Addr leaves out what needs it.
	Second, IPv6 netip.Addr

	// Slow, if set, makes a second's sending from A to B more than a small write
	// buffer holds. SetDown, if set, takes B's interface of that name down, or up.
	Slow    func()
	SetDown func(down bool)

	// Settle returns when everything that was sent has arrived; nil where that is
	// so when a send returns, as on a kernel's loopback interface.
	Settle func()
}

// A Side is a host.
type Side struct {
	Config udp.Config
	Addr   netip.Addr
	// Make, if set, makes the sockets, which are then adopted.
	Make func(network, address string) (*net.UDPConn, error)
}

// TestNetwork checks every promise of package udp that can be seen from outside,
// over whatever network the function make prepares; it is called for each. With
// run, usually [testing/synctest.Test], each runs inside of that; make must not
// call [testing.T.Run].
//
//	udptest.TestNetwork(t, make, synctest.Test)
func TestNetwork(t *testing.T, make func(t *testing.T) Suite, run ...func(*testing.T, func(*testing.T))) {
	for _, promise := range promises {
		t.Run(promise.name, func(t *testing.T) {
			check := func(t *testing.T) { promise.check(&trial{T: t, Suite: make(t)}) }
			if len(run) > 0 {
				run[0](t, check)
			} else {
				check(t)
			}
		})
	}
}

// promises are what the suite checks, by topic.
var promises = func() (all []promise) {
	for _, topic := range [][]promise{
		callbackPromises, datagramPromises, familyPromises, queuePromises, connectedPromises, refusalPromises,
		multicastPromises, membershipPromises, closingPromises,
	} {
		all = append(all, topic...)
	}
	return all
}()

type promise struct {
	name  string
	check func(t *trial)
}

// A trial is one promise under test.
type trial struct {
	*testing.T
	Suite
}

// patience is how long a trial waits for what must come.
const patience = time.Minute

func (t *trial) settle() {
	if t.Settle != nil {
		t.Settle()
	}
}

// ok fails for an error.
func (t *trial) ok(err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// is fails unless err is target, which for an errno may also be what this system
// has instead.
func (t *trial) is(err, target error) {
	t.Helper()
	same := errors.Is(err, target)
	if e, ok := target.(errno); ok && !same {
		same = errors.Is(err, native(e))
	}
	if !same {
		t.Fatalf("the error is %v, and should be %v", err, target)
	}
	if op := new(net.OpError); !errors.As(err, &op) {
		t.Fatalf("%v is no *net.OpError", err)
	}
}

func equal[T comparable](t *trial, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, and should be %v", what, got, want)
	}
}

// on makes a socket of a side.
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

// listen makes a socket bound to every address of B.
func (t *trial) listen(h udp.Handler, change ...func(*udp.Config)) *udp.Conn {
	t.Helper()
	return t.on(t.B, t.Network, "", h, change...)
}

// open makes a socket bound to the address of A.
func (t *trial) open(h udp.Handler, change ...func(*udp.Config)) *udp.Conn {
	t.Helper()
	return t.on(t.A, t.Network, t.A.Addr.String(), h, change...)
}

// dial makes a socket of A connected to one of B.
func (t *trial) dial(c *udp.Conn, h udp.Handler) *udp.ConnectedConn {
	t.Helper()
	return t.dialTo(t.at(c), h)
}

// dialTo makes a socket of A connected to an address.
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

// at is where a socket of B is reached.
func (t *trial) at(c *udp.Conn) netip.AddrPort {
	return netip.AddrPortFrom(t.B.Addr, c.LocalAddrPort().Port())
}

// closedPort is one of B where nobody listens. A socket with a peer has it, which
// is deaf to everybody else, so that no other socket can be given it meanwhile.
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

// A witness is a Handler that notes what it is told, and complains when it is
// told two things at once. A gate, if there is one, holds Received up.
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

// next is what the handler is told next.
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

// receives checks what is received, in order.
func (w *witness) receives(texts ...string) {
	w.t.Helper()
	for i, want := range texts {
		if e := w.next("Received"); e.text != want {
			w.t.Fatalf("datagram %d is %.40q, and should be %.40q", i+1, e.text, want)
		}
	}
}

// quiet checks that nothing was told that was not asked for.
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

// rest waits until a socket's counters add up.
func (t *trial) rest(c *udp.Conn, enough func(s udp.Stats) bool) udp.Stats {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s := c.Stats()
		if s.Received == s.Handled+s.Dropped.Total() && enough(s) {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("the counters never added up: %+v", s)
		}
	}
}

func numbered(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}
