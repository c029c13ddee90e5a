package udp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// scripted is a network of one socket that does what a test says: a fault of the
// system at exactly this read, or that send.
type scripted struct {
	inputs chan any // what reads bring: an error, a []socket.Packet or a []socket.Report
	wake   chan struct{}
	gone   chan struct{}

	forever []socket.Packet // of a benchmark: what every read after a Wake brings

	mu       sync.Mutex
	stuck    error                        // every read brings it
	send     func(m socket.Message) error // nil: the system takes everything
	sent     []string                     // what was taken
	reported bool                         // an ICMP message always waits
	mtu      int                          // of every path
	segments int                          // that a segment may have
	peer     netip.AddrPort
	drops    atomic.Int64
	reads    atomic.Int64 // how many reads there were
	sends    atomic.Int64
	closes   atomic.Int64
}

var (
	here  = netip.MustParseAddrPort("192.0.2.1:1000")
	there = netip.MustParseAddrPort("192.0.2.2:2000")
)

func newScripted() *scripted {
	return &scripted{inputs: make(chan any, 10_000), wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// listen and dial make a socket of this network. It is closed when the test ends: in a
// synctest bubble, a test that failed would wait for its goroutines for ever.
func (s *scripted) listen(t testing.TB, cfg udp.Config, h udp.Handler) *udp.Conn {
	t.Helper()
	cfg.Network = s
	c, err := cfg.Listen(context.Background(), "udp4", here.String(), h)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, c) })
	return c
}

func (s *scripted) dial(t testing.TB, cfg udp.Config, h udp.Handler) *udp.ConnectedConn {
	t.Helper()
	cfg.Network = s
	c, err := cfg.Dial(context.Background(), "udp4", there.String(), h)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, c) })
	return c
}

// arrive makes datagrams arrive, in one read.
func (s *scripted) arrive(data ...string) { s.inputs <- packets(data...) }

func packets(data ...string) []socket.Packet {
	ps := make([]socket.Packet, len(data))
	for i, d := range data {
		b := buffer.Get()
		ps[i] = socket.Packet{Data: b.B[:copy(b.B, d)], Buf: b, From: there}
	}
	return ps
}

// fail makes reads fail.
func (s *scripted) fail(errs ...error) {
	for _, err := range errs {
		s.inputs <- err
	}
}

func (s *scripted) setStuck(err error) {
	s.mu.Lock()
	s.stuck = err
	s.mu.Unlock()
	if err != nil {
		s.Wake()
	}
}

func (s *scripted) isStuck() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stuck
}

// Serve implements socket.Socket.
func (s *scripted) Serve(sink socket.Sink) error {
	for draining := false; ; {
		var in any
		if err := s.isStuck(); err != nil {
			select {
			case <-s.wake:
				in = s.wake
			default:
				in = err
			}
		} else if draining {
			select {
			case in = <-s.inputs:
			default:
				return nil
			}
		} else {
			select {
			case <-s.wake:
				in = s.wake
			case in = <-s.inputs:
			case <-s.gone:
				return net.ErrClosed
			}
		}
		more := true
		switch in := in.(type) {
		case chan struct{}:
			switch sink.Woken() {
			case socket.Stop:
				return nil
			case socket.Continue:
				for s.forever != nil && sink.Packets(s.forever) {
					if len(s.wake) > 0 {
						break
					}
				}
			case socket.Drain:
				draining = true
			case socket.Soon:
				s.Wake()
			}
		case error:
			s.reads.Add(1)
			more = sink.Fault(in)
		case []socket.Report:
			s.reads.Add(1)
			more = sink.Reports(in)
		case []socket.Packet:
			s.reads.Add(1)
			func() {
				defer func() {
					for i := range in {
						in[i].Buf.Release(1)
					}
				}()
				more = sink.Packets(in)
			}()
		}
		if !more {
			return nil
		}
	}
}

func (s *scripted) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *scripted) Discard() (n int) {
	for {
		select {
		case in := <-s.inputs:
			if ps, ok := in.([]socket.Packet); ok {
				for i := range ps {
					ps[i].Buf.Release(1)
				}
				n += len(ps)
			}
		default:
			return n
		}
	}
}

func (s *scripted) Send(m socket.Message) error {
	s.sends.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.send != nil {
		if err := s.send(m); err != nil {
			return err
		}
	}
	s.sent = append(s.sent, string(m.Data))
	return nil
}

// takeSent returns what was sent since the last time.
func (s *scripted) takeSent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = nil
	return sent
}

func (s *scripted) SendBatch(ms []socket.Message, _ bool) (int, error) {
	taken := 0
	for _, m := range ms {
		if err := s.Send(m); err != nil {
			return taken, err
		}
		taken++
		if m.Segment > 0 {
			taken += (len(m.Data) - 1) / m.Segment
		}
	}
	return taken, nil
}

func (s *scripted) Connect(peer netip.AddrPort) (netip.AddrPort, error) {
	s.peer = peer
	return peer, nil
}
func (s *scripted) Disconnect() error { s.peer = netip.AddrPort{}; return nil }
func (s *scripted) Close() error {
	if s.closes.Add(1) == 1 {
		close(s.gone)
	}
	return nil
}
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) MTU(netip.AddrPort) int           { return s.mtu }
func (s *scripted) Reported() bool                   { return s.reported }
func (s *scripted) LostReports() uint64              { return 0 }
func (s *scripted) Zone(zone string) (string, bool)  { return zone, true }
func (s *scripted) Local() netip.AddrPort            { return here }
func (s *scripted) Drops() int64                     { return s.drops.Load() }
func (s *scripted) Info() socket.Info {
	return socket.Info{Family: socket.IPv4, MulticastFilter: true, Segments: s.segments}
}
func (s *scripted) Segments() int                         { return s.segments }
func (s *scripted) Limits() socket.Limits                 { return socket.Limits{Batch: 1} }
func (s *scripted) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }

func (s *scripted) Join(netip.Addr, netip.Addr, int) error  { return errors.ErrUnsupported }
func (s *scripted) Leave(netip.Addr, netip.Addr, int) error { return errors.ErrUnsupported }
func (s *scripted) Block(netip.Addr, netip.Addr, int, bool) error {
	return errors.ErrUnsupported
}
func (s *scripted) SetMulticast(socket.MulticastOption, bool, int) error {
	return errors.ErrUnsupported
}
func (s *scripted) Multicast(socket.MulticastOption, bool) (int, error) {
	return 0, errors.ErrUnsupported
}

// Open and the rest implement socket.Network.
func (s *scripted) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return s, nil
}
func (s *scripted) LookupIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.ErrUnsupported
}
func (s *scripted) Interfaces() ([]socket.Interface, error) { return nil, nil }
func (s *scripted) Watch(func()) (func(), error)            { return func() {}, nil }

// deadlines is a scripted network on which setting no write deadline takes a while.
type deadlines struct {
	*scripted
	entered, leave chan struct{}
	mu             sync.Mutex
	last           time.Time
}

func (s *deadlines) SetWriteDeadline(at time.Time) error {
	if at.IsZero() {
		close(s.entered)
		<-s.leave
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = at
	return nil
}

// Open implements socket.Network.
func (s *deadlines) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return s, nil
}
