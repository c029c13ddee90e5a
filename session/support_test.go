package session_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/session"
	"github.com/udpkit/udp/udptest"
)

// lan is a simulated network with a server and a client.
type lan struct {
	net            *udptest.Net
	server, client *udptest.Host
}

func newLAN(t testing.TB) lan {
	n := udptest.NewNet(t, udptest.Config{Seed: 1})
	return lan{n, n.Host("server", "10.0.0.1", "10.0.0.9"), n.Host("client", "10.0.0.2")}
}

// listen opens a Listener on the server.
func (l lan) listen(t testing.TB, cfg session.Config) *session.Listener {
	t.Helper()
	cfg.Socket.Network = l.server.Network()
	ln, err := cfg.Listen(t.Context(), "udp", ":7000")
	require.NoError(t, err)
	t.Cleanup(func() { end(ln.Conn()) })
	return ln
}

// end closes a socket and waits for its last callback.
func end(c *udp.Conn) {
	c.Close()
	<-c.Done()
}

// peer is a client's connected socket.
type peer struct {
	*udp.ConnectedConn
	q *udp.Queue
}

func (l lan) dial(t testing.TB) peer { return l.dialTo(t, "10.0.0.1:7000") }

func (l lan) dialTo(t testing.TB, address string) peer {
	t.Helper()
	return dial(t, udp.Config{Network: l.client.Network()}, address)
}

func dial(t testing.TB, cfg udp.Config, address string) peer {
	t.Helper()
	q := udp.NewQueue(1000, udp.DropNewest)
	c, err := cfg.Dial(t.Context(), "udp", address, q)
	require.NoError(t, err)
	t.Cleanup(func() { end(c.Conn) })
	return peer{c, q}
}

func (p peer) send(t testing.TB, text string) {
	t.Helper()
	require.NoError(t, p.Send([]byte(text)))
}

func (p peer) receive(t testing.TB) string {
	t.Helper()
	select {
	case d, ok := <-p.q.Datagrams():
		require.True(t, ok, "the socket has stopped")
		return string(d.Data)
	case <-time.After(time.Minute):
		t.Fatal("nothing was received")
		return ""
	}
}

func accept(t testing.TB, ln *session.Listener) *session.Conn {
	t.Helper()
	c, err := ln.Accept()
	require.NoError(t, err)
	return c.(*session.Conn)
}

func read(t testing.TB, c net.Conn) string {
	t.Helper()
	b := make([]byte, 2000)
	n, err := c.Read(b)
	require.NoError(t, err)
	return string(b[:n])
}

func write(t testing.TB, c net.Conn, text string) {
	t.Helper()
	n, err := c.Write([]byte(text))
	require.NoError(t, err)
	require.Equal(t, len(text), n)
}

// readError waits for the error of a Read, which must be a net.OpError.
func readError(t testing.TB, c net.Conn) error {
	t.Helper()
	n, err := c.Read(make([]byte, 2000))
	require.Error(t, err)
	require.Zero(t, n)
	require.IsType(t, &net.OpError{}, err)
	return err
}

// requireAgreement checks the sums that Stats promises.
func requireAgreement(t testing.TB, s session.Stats) {
	t.Helper()
	require.Equal(t, s.Begun, s.Active+s.Closed+s.Idle+s.Evicted+s.Failed, "%+v", s)
	require.Equal(t, s.Received, s.Delivered+s.Rejected+s.Full+s.BacklogFull+s.BufferFull+s.NotListening, "%+v", s)
}

type calls struct {
	mu  sync.Mutex
	all []string
}

// take returns the calls since it was called last.
func (c *calls) take() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, c.all = c.all, nil
	return all
}

// log is a handler that notes the calls for one session.
type log struct {
	udp.BaseHandler
	name  string
	calls *calls
	do    func(c *udp.Conn, d udp.Datagram)
}

func (l log) note(format string, a ...any) {
	l.calls.mu.Lock()
	defer l.calls.mu.Unlock()
	l.calls.all = append(l.calls.all, l.name+" "+fmt.Sprintf(format, a...))
}
func (l log) Started(*udp.Conn) { l.note("started") }
func (l log) Received(c *udp.Conn, d udp.Datagram) {
	l.note("received %s", d.Data)
	if l.do != nil {
		l.do(c, d)
	}
}
func (l log) Refused(_ *udp.Conn, r *udp.Refusal) { l.note("refused %v", r.Err) }
func (l log) Stopped(_ *udp.Conn, err error)      { l.note("stopped %v", err) }

// address is one of many.
func address(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5000)
}

func from(i int, text string) udp.Datagram {
	return udptest.Datagram(udptest.Header{From: address(i), To: netip.MustParseAddrPort("192.0.2.1:5000")}, []byte(text))
}

// recorded starts a handler on a socket that is connected to nothing.
func recorded(t testing.TB, h udp.Handler) (*udptest.Recorder, *udp.Conn) {
	r := udptest.NewRecorder(t)
	c := r.Start(h)
	t.Cleanup(func() { end(c) })
	return r, c
}

var background = context.Background()
