package udptest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// A Recorder tests a handler without a network. The test passes datagrams and ICMP errors to
// the handler, and inspects the datagrams that it sends.
//
//	r := udptest.NewRecorder(t)
//	r.Start(echo)
//	r.Receive(udp.Datagram{From: peer, Data: []byte("hello")})
//	sent := r.Sent() // the replies
//
// Receive, Refuse and Fail return after the callback has returned, so the test need not wait
// for anything. They must not be called by the handler. Without an open socket they fail the
// test.
//
// With [udp.Workers] as the handler, Receive returns once the Workers have the datagram.
// Received of the handler behind them may still be running. Test that handler itself, or wait
// with [udp.Conn.Shutdown] or, in a bubble, synctest.Wait.
type Recorder struct {
	host *Host

	mu   sync.Mutex
	conn *udp.Conn // of Start or Dial; nil: sock is of Network
	sock *sock     // opened last
	sent []udp.Message
}

// NewRecorder returns a Recorder without a socket: see [Recorder.Start], [Recorder.Dial] and
// [Recorder.Network]. In an example t may be nil; then the Recorder panics where it would fail
// the test.
func NewRecorder(t testing.TB) *Recorder {
	r := &Recorder{host: NewNet(t, Config{Trace: -1}).Host("recorder", "192.0.2.1", "2001:db8::1")}
	r.host.recorder = r
	return r
}

// Network returns a network for udp.Config.Network that records its sockets. It is for handlers
// that open sockets themselves, with other settings, or join multicast groups. Receive, Refuse
// and Fail affect the socket that was opened last.
func (r *Recorder) Network() udp.Network { return r.host.Network() }

// Config returns a udp.Config with [Recorder.Network]. All other fields are zero, and may be
// set.
func (r *Recorder) Config() udp.Config { return r.host.Config() }

// Start opens a socket with a handler, on port 5000 of 192.0.2.1 and 2001:db8::1, and returns
// after Started. The socket is closed when the test ends. The test fails if an earlier socket
// of Start is still open.
func (r *Recorder) Start(h udp.Handler) *udp.Conn {
	t := r.host.net.t
	t.Helper()
	c, err := r.Config().Listen(context.Background(), "udp", ":5000", h)
	r.host.net.check(err)
	r.owns(c)
	return c
}

// Dial opens a socket with a handler that is connected to a peer, for example
// "198.51.100.1:53". It is like [Recorder.Start] otherwise.
func (r *Recorder) Dial(peer string, h udp.Handler) *udp.ConnectedConn {
	t := r.host.net.t
	t.Helper()
	c, err := r.Config().Dial(context.Background(), "udp", peer, h)
	r.host.net.check(err)
	r.owns(c.Conn)
	return c
}

// owns makes c the socket that Fail waits for, and closes it when the test ends.
func (r *Recorder) owns(c *udp.Conn) {
	r.host.net.t.Cleanup(func() {
		c.Close()
		<-c.Done()
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn = c
}

// adopt makes s the socket that the test acts on.
func (r *Recorder) adopt(s *sock) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sock, r.conn = s, nil
}

// current returns the open socket, or fails the test.
func (r *Recorder) current() *sock {
	r.host.net.t.Helper()
	r.mu.Lock()
	s := r.sock
	r.mu.Unlock()
	switch {
	case s == nil:
		r.host.net.fail(fmt.Errorf("udptest: the Recorder has no socket yet: call Start"))
	case s.isClosed():
		r.host.net.fail(fmt.Errorf("udptest: the socket of the Recorder is closed"))
	}
	return s
}

// Receive passes a datagram to the handler and returns after Received. Data is copied. Without
// To, the datagram is sent to the address of the host. Without From, it is from the peer of a
// connected socket, or from port 5000 of 192.0.2.2 or 2001:db8::2. [Datagram] makes one with
// other properties.
func (r *Recorder) Receive(d udp.Datagram) {
	r.host.net.t.Helper()
	s := r.current()
	if !d.From.IsValid() {
		d.From = s.defaultPeer()
	}
	to, ifIndex := d.To().Addr(), d.IfIndex()
	if !to.IsValid() {
		to = netip.AddrFrom4([4]byte{192, 0, 2, 1})
		if d.From.Addr().Is6() {
			to = netip.MustParseAddr("2001:db8::1")
		}
	}
	if ifIndex == 0 {
		ifIndex = 2 // eth0
	}
	p := socket.Packet{
		Buf: buffer.Of(len(d.Data)), From: d.From, To: netip.AddrPortFrom(to, d.To().Port()), Own: r.host.owns(to),
		IfIndex: ifIndex, TTL: uint8(d.TTL()), TrafficClass: d.TrafficClass(), Time: d.Time(),
	}
	p.Data = p.Buf.B[:copy(p.Buf.B, d.Data)]
	s.push(p)
	signal(s.readable)
	s.settle()
}

// defaultPeer returns the source of datagrams without one.
func (s *sock) defaultPeer() netip.AddrPort {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	switch {
	case s.peer.IsValid():
		return s.peer
	case s.family == socket.IPv6:
		return netip.MustParseAddrPort("[2001:db8::2]:5000")
	}
	return netip.MustParseAddrPort("192.0.2.2:5000")
}

// Refuse passes an ICMP error to the handler and returns after Refused. The zero Refusal is
// "port unreachable", from the peer that [Recorder.Receive] assumes. Without an Err, Type and
// Code determine it as on Linux: errors.Is(r, syscall.ECONNREFUSED) for "port unreachable".
func (r *Recorder) Refuse(f *udp.Refusal) {
	r.host.net.t.Helper()
	s := r.current()
	m := socket.Report{
		Peer: f.Peer, Offender: f.Offender, Type: f.Type, Code: f.Code, MTU: f.MTU,
		Payload: bytes.Clone(f.Payload), Err: f.Err,
	}
	if !m.Peer.IsValid() {
		m.Peer = s.defaultPeer()
	}
	v4 := m.Peer.Addr().Unmap().Is4()
	if m.Err == nil && m.Type == 0 && m.Code == 0 { // no ICMP error has these
		m.Type, m.Code = portUnreachable.message(v4)
	}
	if m.Err == nil {
		m.Err = errOf(v4, m.Type, m.Code)
	}
	s.report(m, none)
	signal(s.readable)
	s.settle()
}

// Fail makes the socket fail with err, as the kernel would, and returns after Stopped. For a
// socket that was opened with Network or Config it does not wait; use [udp.Conn.Done].
func (r *Recorder) Fail(err error) {
	r.host.net.t.Helper()
	s := r.current()
	s.mu.Lock()
	s.fatal = err
	s.mu.Unlock()
	signal(s.readable)
	r.mu.Lock()
	c := r.conn
	r.mu.Unlock()
	if c != nil {
		<-c.Done()
	}
}

func (r *Recorder) record(m socket.Message, to netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, udp.Message{
		Data: append([]byte{}, m.Data...), To: to, From: m.From, IfIndex: m.IfIndex,
		TTL: int(m.TTL), TrafficClass: m.TrafficClass, ECN: udp.ECN(m.ECN),
	})
}

// Sent returns the messages that were sent since the last call, in order, as the handler filled
// them in. On a connected socket, To is the peer.
func (r *Recorder) Sent() []udp.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := r.sent
	r.sent = nil
	return sent
}
