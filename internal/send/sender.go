// Package send sends datagrams on a socket. A [Sender] checks each before a system call,
// repeats sends that fail temporarily, and counts them. An [Outbox] holds copies of
// datagrams and sends them as one batch.
//
// # Locking
//
// The gate is closed while the peer changes, and a change of the peer waits for sends that
// name their destination. Outbox.sending is taken after it. It is held while a batch is sent,
// and orders the batches. Outbox.mu guards the pending messages, and is taken after sending.
// Neither is held while Config.Failed runs. The locks of the socket and of Config.Reported
// come after all of them.
package send

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/life"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
	"github.com/udpkit/udp/internal/sys"
)

// Config is what a Sender needs of its user. All of it must be set.
type Config struct {
	Socket socket.Socket
	Family socket.Family
	Life   *life.Life
	Stats  *stats.Counters
	Peer   *atomic.Pointer[netip.AddrPort] // of a connected socket

	Broadcast   bool // IPv4 addresses may be broadcast addresses
	PeerErrors  bool // sends return ICMP errors without a peer, too
	NoFragments bool // datagrams longer than the path's MTU always fail

	// Stranded reports whether the outgoing interface for groups is missing.
	Stranded func(to netip.AddrPort, peer *netip.AddrPort) bool
	// TooLarge makes the error for a datagram of size bytes, which wraps ErrTooLarge. max
	// is the longest size possible, mtu the path's MTU; 0 means unknown.
	TooLarge func(size, max, mtu int) error
	// Reported gets an ICMP error about an older datagram that a send to the peer returned.
	// It must not wait and must not send.
	Reported func(peer netip.AddrPort, err error)
	// Failed gets the datagrams of an Outbox that could not be sent. It may send.
	Failed func([]Failure)
}

// A Failure is a datagram that could not be sent.
type Failure struct {
	Index int // in its batch
	To    netip.AddrPort
	Err   error
}

// A Sender sends on one socket. Its methods may be called from any goroutine. It is part of
// an Outbox.
type Sender struct {
	Config
	deadline atomic.Pointer[deadline] // never nil
	gate     gate                     // closed while the peer changes
	// final is set before the last attempt of a closing socket. Only that attempt discards
	// what it cannot send. Before it, a send that the end interrupts leaves its batch to
	// Stop.
	final atomic.Bool
}

// Send sends one checked message.
func (s *Sender) Send(m *socket.Message) error {
	if err := s.Socket.Send(*m); err != nil {
		if err, _ = s.Again(*m, err, Patient); err != nil {
			s.CountFailure(err)
		}
		return err
	}
	s.Stats.CountSent(1, len(m.Data))
	return nil
}

// Transmit sends messages in order and continues after those that fail. It ends early when
// the socket is closed, when the deadline has passed, or when it would have to wait and
// must not. It then returns the cause and the remaining messages.
func (s *Sender) Transmit(ms []socket.Message, how Patience) (left []socket.Message, failed []Failure, cause error) {
	index := 0
	for len(ms) > 0 {
		n, err := s.Socket.SendBatch(ms, how != TryOnce)
		rest, bytes := gso.Skip(ms, n)
		ms = rest
		index += n
		s.Stats.CountSent(n, bytes)
		if err == nil {
			continue
		}
		one := gso.First(ms)
		err, later := s.Again(one, err, how)
		if later {
			return ms, failed, err
		}
		if err != nil {
			if class := sys.Classify(err); class == sys.Deadline || class == sys.Closed {
				return ms, failed, err
			}
			s.CountFailure(err)
			failed = append(failed, Failure{index, one.To, err})
		}
		ms, _ = gso.Skip(ms, 1)
		index++
	}
	return nil, failed, nil
}

// failAll counts the remaining messages of a batch of n after an error that applies to all.
func (s *Sender) failAll(left []socket.Message, n int, err error) (failed []Failure) {
	for len(left) > 0 {
		one := gso.First(left)
		s.CountFailure(err)
		failed = append(failed, Failure{0, one.To, err})
		left, _ = gso.Skip(left, 1)
	}
	for i := range failed {
		failed[i].Index = n - len(failed) + i
	}
	return failed
}

// EndWaits ends the sends that wait for room, because the socket closes.
func (s *Sender) EndWaits() { _ = s.Socket.SetWriteDeadline(time.Unix(1, 0)) }
