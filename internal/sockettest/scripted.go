package sockettest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
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

// Scripted is a network of one socket that does what a test says: it fails exactly this
// read, or that send.
type Scripted struct {
	Inputs chan any // what reads return: an error, a []socket.Packet or a []socket.Report
	wake   chan struct{}
	gone   chan struct{} // closed by Close

	Forever []socket.Packet // of a benchmark: what every read after a Wake returns

	Mu             sync.Mutex
	stuck          error                        // every read returns it
	OnSend         func(m socket.Message) error // nil: every send is accepted
	OnWake         func()                       // before each Wake; not guarded by Mu
	SentData       []string                     // what was accepted
	AlwaysReported bool                         // an ICMP error is always pending
	PathMTU        int                          // of every path
	MaxSegments    int                          // of one segmented send
	peer           netip.AddrPort
	DropCount      atomic.Int64 // what Drops returns
	ReadCalls      atomic.Int64
	SendCalls      atomic.Int64
	CloseCalls     atomic.Int64
}

// Here is the address of a Scripted socket, There that of its peer.
var (
	Here  = netip.MustParseAddrPort("192.0.2.1:1000")
	There = netip.MustParseAddrPort("192.0.2.2:2000")
)

// NewScripted returns a network whose script may be 10,000 reads ahead of the socket.
func NewScripted() *Scripted { return NewScriptedOf(10_000) }

// NewScriptedOf returns a network whose script may be n reads ahead of the socket.
func NewScriptedOf(n int) *Scripted {
	return &Scripted{Inputs: make(chan any, n), wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// Listen opens the socket and closes it when the test ends: in a synctest bubble, a test
// that failed would wait for its goroutines for ever.
func (s *Scripted) Listen(t testing.TB, cfg udp.Config, h udp.Handler) *udp.Conn {
	t.Helper()
	cfg.Network = s
	c, err := cfg.Listen(context.Background(), "udp4", Here.String(), h)
	require.NoError(t, err)
	t.Cleanup(func() { Stop(t, c) })
	return c
}

// Dial is Listen for a socket that is connected to There.
func (s *Scripted) Dial(t testing.TB, cfg udp.Config, h udp.Handler) *udp.ConnectedConn {
	t.Helper()
	cfg.Network = s
	c, err := cfg.Dial(context.Background(), "udp4", There.String(), h)
	require.NoError(t, err)
	t.Cleanup(func() { Stop(t, c) })
	return c
}

// Arrive makes datagrams arrive, in one read.
func (s *Scripted) Arrive(data ...string) { s.Inputs <- Packets(data...) }

// Fail makes reads fail.
func (s *Scripted) Fail(errs ...error) {
	for _, err := range errs {
		s.Inputs <- err
	}
}

// SetStuck makes every read fail until it is called with nil.
func (s *Scripted) SetStuck(err error) {
	s.Mu.Lock()
	s.stuck = err
	s.Mu.Unlock()
	if err != nil {
		s.Wake()
	}
}

func (s *Scripted) isStuck() error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.stuck
}

// Serve implements socket.Socket.
func (s *Scripted) Serve(sink socket.Sink) error {
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
			case in = <-s.Inputs:
			default:
				return nil
			}
		} else {
			select {
			case <-s.wake:
				in = s.wake
			case in = <-s.Inputs:
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
				for s.Forever != nil && sink.Packets(s.Forever) {
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
			s.ReadCalls.Add(1)
			more = sink.Fault(in)
		case []socket.Report:
			s.ReadCalls.Add(1)
			more = sink.Reports(in)
		case []socket.Packet:
			s.ReadCalls.Add(1)
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

func (s *Scripted) Wake() {
	if s.OnWake != nil {
		s.OnWake()
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Scripted) Discard() (n int) {
	for {
		select {
		case in := <-s.Inputs:
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

func (s *Scripted) Send(m socket.Message) error {
	s.SendCalls.Add(1)
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.OnSend != nil {
		if err := s.OnSend(m); err != nil {
			return err
		}
	}
	s.SentData = append(s.SentData, string(m.Data))
	return nil
}

// TakeSent returns what was sent since the last call.
func (s *Scripted) TakeSent() []string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	sent := s.SentData
	s.SentData = nil
	return sent
}

func (s *Scripted) SendBatch(ms []socket.Message, _ bool) (int, error) {
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

func (s *Scripted) Connect(peer netip.AddrPort) (netip.AddrPort, error) {
	s.peer = peer
	return peer, nil
}
func (s *Scripted) Disconnect() error { s.peer = netip.AddrPort{}; return nil }
func (s *Scripted) Close() error {
	if s.CloseCalls.Add(1) == 1 {
		close(s.gone)
	}
	return nil
}
func (s *Scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *Scripted) MTU(netip.AddrPort) int           { return s.PathMTU }
func (s *Scripted) ErrorPending() bool               { return s.AlwaysReported }
func (s *Scripted) LostReports() uint64              { return 0 }
func (s *Scripted) Zone(zone string) (string, bool)  { return zone, true }
func (s *Scripted) Local() netip.AddrPort            { return Here }
func (s *Scripted) Drops() int64                     { return s.DropCount.Load() }
func (s *Scripted) Info() socket.Info {
	return socket.Info{Family: socket.IPv4, MulticastFilter: true, Segments: s.MaxSegments}
}
func (s *Scripted) Segments() int                         { return s.MaxSegments }
func (s *Scripted) Limits() socket.Limits                 { return socket.Limits{Batch: 1} }
func (s *Scripted) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }
func (s *Scripted) Peer() netip.AddrPort                  { return netip.AddrPort{} }
func (s *Scripted) Reconcile() error                      { return nil }
func (s *Scripted) Rebinds() uint64                       { return 0 }
func (s *Scripted) Detach() (*net.UDPConn, error)         { return nil, errors.ErrUnsupported }
func (s *Scripted) StopIntake()                           {}

func (s *Scripted) Join(netip.Addr, netip.Addr, int) error  { return errors.ErrUnsupported }
func (s *Scripted) Leave(netip.Addr, netip.Addr, int) error { return errors.ErrUnsupported }
func (s *Scripted) Block(netip.Addr, netip.Addr, int, bool) error {
	return errors.ErrUnsupported
}
func (s *Scripted) SetMulticast(socket.MulticastOption, bool, int) error {
	return errors.ErrUnsupported
}
func (s *Scripted) Multicast(socket.MulticastOption, bool) (int, error) {
	return 0, errors.ErrUnsupported
}

// Open and the rest implement socket.Network.
func (s *Scripted) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return s, nil
}
func (s *Scripted) LookupIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.ErrUnsupported
}
func (s *Scripted) Interfaces() ([]socket.Interface, error) { return nil, nil }
func (s *Scripted) Watch(func()) (func(), error)            { return func() {}, nil }

// Packets are what one read returns: datagrams from There.
func Packets(data ...string) []socket.Packet {
	ps := make([]socket.Packet, len(data))
	for i, d := range data {
		b := buffer.Get()
		ps[i] = socket.Packet{Data: b.B[:copy(b.B, d)], Buf: b, From: There}
	}
	return ps
}

// Coalesced are coalesced packets whose segments are of one byte each.
func Coalesced(data ...string) []socket.Packet {
	ps := Packets(data...)
	for i := range ps {
		ps[i].Segment = 1
	}
	return ps
}

// SysError is the error of a failed system call.
func SysError(errno syscall.Errno) error { return os.NewSyscallError("recvmsg", errno) }

// Always is an OnSend that returns err.
func Always(err error) func(socket.Message) error {
	return func(socket.Message) error { return err }
}
