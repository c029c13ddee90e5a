package udptest

import (
	"bytes"
	"context"
	"net/netip"
	"sync"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// A Recorder tests a handler alone: its socket is connected to nothing, what the
// handler sends is recorded, and what it receives is what it is fed with.
//
//	r := udptest.NewRecorder()
//	r.Start(echo)
//	r.Receive(udp.Datagram{From: peer, Data: []byte("hello")})
//	// r.Sent() is what it has answered
//
// Receive and Refuse return when the callback has, so nothing has to be waited
// for. They must not be called by the handler, and panic when there is no socket,
// or none any more.
//
// Behind [udp.Workers] the callback is theirs: Receive returns when they have the
// datagram, and the Received of the handler behind them may still be to come. Test
// that handler itself, or wait by [udp.Conn.Shutdown] or, in a bubble, synctest.Wait.
type Recorder struct {
	host *Host

	mu   sync.Mutex
	conn *udp.Conn
	sock *sock
	sent []udp.Message
}

// NewRecorder makes a Recorder without a socket: see [Recorder.Start] and
// [Recorder.Network].
func NewRecorder() *Recorder {
	r := &Recorder{host: NewNet(Config{}).Host("recorder", "192.0.2.1", "2001:db8::1")}
	r.host.recorder = r
	return r
}

// Network makes sockets that are recorded, for a udp.Config: with it a handler
// is tested on a socket that is connected, or in groups. Receive, Refuse and Fail
// are about the one that was made last.
func (r *Recorder) Network() udp.Network { return r.host.Network() }

// Start makes a socket for a handler, with the port 5000 of 192.0.2.1 and
// 2001:db8::1, and has called its Started when it returns. It panics when there
// is one already that is not closed.
func (r *Recorder) Start(h udp.Handler) *udp.Conn {
	c, err := udp.Config{Network: r.Network()}.Listen(context.Background(), "udp", ":5000", h)
	if err != nil {
		panic(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn = c
	return c
}

// adopt takes over a socket that was made.
func (r *Recorder) adopt(s *sock) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sock, r.conn = s, nil
}

func (r *Recorder) current() *sock {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sock == nil {
		panic("udptest: the Recorder has no socket yet: call Start")
	}
	if r.sock.isClosed() {
		panic("udptest: the Recorder's socket is closed")
	}
	return r.sock
}

// Receive feeds the handler with a datagram and returns when its Received has. A
// datagram without a destination is to the host's own address; one without a source
// comes from the peer, or from 192.0.2.2 or 2001:db8::2, port 5000.
func (r *Recorder) Receive(d udp.Datagram) {
	s := r.current()
	if !d.From.IsValid() {
		d.From = s.stranger()
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

// stranger is where datagrams come from that don't say it.
func (s *sock) stranger() netip.AddrPort {
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

// Refuse feeds the handler with an ICMP message and returns when its Refused
// has. Without a Peer it is about the socket's.
func (r *Recorder) Refuse(f *udp.Refusal) {
	s := r.current()
	if !f.Peer.IsValid() {
		copied := *f
		copied.Peer = s.stranger()
		f = &copied
	}
	s.report(socket.Report{
		Peer: f.Peer, Offender: f.Offender, Type: f.Type, Code: f.Code, MTU: f.MTU,
		Payload: bytes.Clone(f.Payload), Err: f.Err,
	}, none)
	signal(s.readable)
	s.settle()
}

// Fail ends the socket as a failing system would, with an error that Stopped
// gets. On a socket of Start it returns when Stopped has, otherwise
// [udp.Conn.Done] tells that. To close it in the ordinary way use Close.
func (r *Recorder) Fail(err error) {
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
	r.sent = append(r.sent, udp.Message{Data: append([]byte{}, m.Data...), To: to, From: m.From, ECN: udp.ECN(m.ECN)})
}

// Sent returns what was sent since it was called last, in order. On a connected
// socket To is the peer.
func (r *Recorder) Sent() []udp.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := r.sent
	r.sent = nil
	return sent
}
