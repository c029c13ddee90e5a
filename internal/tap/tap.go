// Package tap reports the reads and sends of a socket to hooks. A Conn without a Trace has
// no tap around its socket, so its packet path runs no code for it.
package tap

import (
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// Hooks are called on the goroutine that reads or sends. All must be set.
type Hooks struct {
	Received  func(ps []socket.Packet)                       // by the reader, before the packets are passed on
	Sent      func(ms []socket.Message, n int, at time.Time) // the first n datagrams left after at
	Discarded func()                                         // for each datagram that Discard counts
	Rebound   func()                                         // for each repair, by the reader
}

// A Socket is a socket with a tap.
type Socket struct {
	socket.Socket
	Hooks
	rebinds uint64 // reported so far; used by the reader only
}

// Serve implements socket.Socket.
func (s *Socket) Serve(to socket.Sink) error { return s.Socket.Serve(sink{to, s}) }

// Send implements socket.Socket.
func (s *Socket) Send(m socket.Message) error {
	at := time.Now()
	err := s.Socket.Send(m)
	if err == nil {
		s.Sent([]socket.Message{m}, 1, at)
	}
	return err
}

// SendBatch implements socket.Socket.
func (s *Socket) SendBatch(ms []socket.Message, wait bool) (int, error) {
	at := time.Now()
	n, err := s.Socket.SendBatch(ms, wait)
	s.Sent(ms, n, at)
	return n, err
}

// Discard implements socket.Socket.
func (s *Socket) Discard() int {
	n := s.Socket.Discard()
	for range n {
		s.Discarded()
	}
	return n
}

// rebound reports the repairs since its last call: the socket wakes its reader after each.
func (s *Socket) rebound() {
	for n := s.Rebinds(); s.rebinds < n; s.rebinds++ {
		s.Rebound()
	}
}

// sink is the Sink between the socket and its reader.
type sink struct {
	socket.Sink
	tap *Socket
}

// Packets implements socket.Sink.
func (s sink) Packets(ps []socket.Packet) bool {
	s.tap.Received(ps)
	return s.Sink.Packets(ps)
}

// Woken implements socket.Sink.
func (s sink) Woken() socket.Action {
	s.tap.rebound()
	return s.Sink.Woken()
}

// Puller returns p with the tap.
func (s *Socket) Puller(p socket.Puller) socket.Puller { return puller{p, s} }

type puller struct {
	socket.Puller
	tap *Socket
}

// Pull implements socket.Puller. The tap gets whole datagrams with their headers.
func (p puller) Pull([]byte, bool) ([]socket.Packet, error) {
	ps, err := p.Puller.Pull(nil, true)
	p.tap.rebound()
	p.tap.Received(ps)
	return ps, err
}
