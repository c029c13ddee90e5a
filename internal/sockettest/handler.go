package sockettest

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// Event is a call of a Recorder's method.
type Event struct {
	Name     string // Started, Received, Refused, Stopped
	Conn     *udp.Conn
	Data     string
	Datagram udp.Datagram // a clone
	Refusal  *udp.Refusal
	Err      error
}

// Recorder is a Handler that records the calls of its methods. Each also calls the
// function of its name, if that is not nil.
type Recorder struct {
	OnStarted  func(*udp.Conn)
	OnReceived func(*udp.Conn, udp.Datagram)
	OnRefused  func(*udp.Conn, *udp.Refusal)
	OnStopped  func(*udp.Conn, error)

	Events  chan Event
	running atomic.Int32
	Overlap atomic.Bool // two callbacks ran at the same time
}

// NewRecorder returns a Recorder with room for 10,000 events.
func NewRecorder() *Recorder { return &Recorder{Events: make(chan Event, 10_000)} }

func (r *Recorder) enter(e Event) (leave func()) {
	if r.running.Add(1) != 1 {
		r.Overlap.Store(true)
	}
	r.Events <- e
	return func() { r.running.Add(-1) }
}

func (r *Recorder) Started(c *udp.Conn) {
	defer r.enter(Event{Name: "Started", Conn: c})()
	if r.OnStarted != nil {
		r.OnStarted(c)
	}
}

func (r *Recorder) Received(c *udp.Conn, d udp.Datagram) {
	defer r.enter(Event{Name: "Received", Conn: c, Data: string(d.Data), Datagram: d.Clone()})()
	if r.OnReceived != nil {
		r.OnReceived(c, d)
	}
}

func (r *Recorder) Refused(c *udp.Conn, f *udp.Refusal) {
	defer r.enter(Event{Name: "Refused", Conn: c, Refusal: f})()
	if r.OnRefused != nil {
		r.OnRefused(c, f)
	}
}

func (r *Recorder) Stopped(c *udp.Conn, err error) {
	defer r.enter(Event{Name: "Stopped", Conn: c, Err: err})()
	if r.OnStopped != nil {
		r.OnStopped(c, err)
	}
}

// Next takes the next event, which must have this name.
func (r *Recorder) Next(t testing.TB, name string) Event {
	t.Helper()
	e := Next(t, r.Events)
	require.Equal(t, name, e.Name, "%+v", e)
	return e
}

// Names takes all events and returns their names.
func (r *Recorder) Names() (ns []string) {
	for {
		select {
		case e := <-r.Events:
			ns = append(ns, e.Name)
		default:
			return ns
		}
	}
}

// Funcs is a Handler of two functions, for floods: it records nothing.
type Funcs struct {
	udp.BaseHandler
	OnReceived func(*udp.Conn, udp.Datagram)
	OnRefused  func(*udp.Conn, *udp.Refusal)
}

func (r *Funcs) Received(c *udp.Conn, d udp.Datagram) { r.OnReceived(c, d) }
func (r *Funcs) Refused(c *udp.Conn, f *udp.Refusal)  { r.OnRefused(c, f) }

// NewGate returns a channel for callbacks to wait on. Tests defer open, so that no callback
// waits when they fail.
func NewGate() (gate <-chan struct{}, open func()) {
	ch := make(chan struct{})
	return ch, sync.OnceFunc(func() { close(ch) })
}

// Quiet logs nothing, for tests that expect panics.
var Quiet = slog.New(slog.DiscardHandler)
