package udptest

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A sink reports that it was woken.
type sink struct{ woken chan struct{} }

func (sink) Packets([]socket.Packet) bool { return true }
func (sink) Reports([]socket.Report) bool { return true }
func (sink) Fault(error) bool             { return true }
func (s sink) Woken() socket.Action       { s.woken <- struct{}{}; return socket.Continue }

func openSock(t *testing.T, h *Host) *sock {
	s, err := h.Network().Open(context.Background(), "udp4", netip.MustParseAddrPort("10.0.0.1:7"), socket.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s.(*sock)
}

// The network's lock is taken before the socket's, so a read that may be one that
// fails gives up its own: what it has seen in the queue may be gone afterwards.
func TestACrashWhileAReadMayFailEndsNoSocket(t *testing.T) {
	n := NewNet(t, Config{})
	a := n.Host("a", "10.0.0.1")
	a.FailRead(8, 1, eNETDOWN) // for another socket
	s := openSock(t, a)
	n.mu.Lock()
	s.push(socket.Packet{Buf: n.newPacket(nil).buf})
	served := make(chan error, 1)
	reader := sink{make(chan struct{}, 1)}
	go func() { served <- s.Serve(reader) }()
	for busy := false; !busy; runtime.Gosched() {
		s.mu.Lock()
		busy = s.busy
		s.mu.Unlock()
	}
	s.die()
	n.mu.Unlock()
	s.Wake()
	select {
	case <-reader.woken:
	case err := <-served:
		require.Fail(t, "it has ended", err)
	}
	s.settle()
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-served, net.ErrClosed)
}

func TestRefusalsThatNobodyHasReadAreCounted(t *testing.T) {
	h := NewNet(t, Config{}).Host("a", "10.0.0.1")
	for name, lose := range map[string]func(s *sock){
		"close":   func(s *sock) { s.Close() },
		"discard": func(s *sock) { s.Discard() },
		"crash":   func(*sock) { h.Crash(); h.Restart() },
	} {
		s := openSock(t, h)
		s.report(socket.Report{}, none)
		s.report(socket.Report{}, none)
		lose(s)
		require.Equal(t, uint64(2), s.LostReports(), name)
		s.Close()
	}
}

func TestACrashedHostForgetsSocketsThatAreClosed(t *testing.T) {
	h := NewNet(t, Config{}).Host("a", "10.0.0.1")
	for range 3 {
		s := openSock(t, h)
		h.Crash()
		require.Len(t, h.dead, 1)
		h.Restart()
		require.NoError(t, s.Close())
		require.Empty(t, h.dead)
	}
}

// A mapping that expires takes with it what was kept about who has sent by it.
func TestAMappingThatExpiresLeavesNothing(t *testing.T) {
	n := NewNet(t, Config{})
	r := n.Router("r")
	outside := r.Attach(n.Segment("outside"), "eth0", "203.0.113.1")
	r.SetNAT(outside, NATConfig{Timeout: time.Second})
	inside, remote := netip.MustParseAddrPort("192.168.0.1:1"), netip.MustParseAddrPort("198.51.100.1:1")
	n.mu.Lock()
	defer n.mu.Unlock()
	m := r.nat.open(inside, remote, 0)
	for i := range 1000 {
		from := netip.AddrPortFrom(remote.Addr(), uint16(i%100+1))
		p := &packet{src: from, dst: netip.AddrPortFrom(r.nat.addr, m.port), iface: outside}
		require.True(t, r.nat.inward(p, 0))
		require.Equal(t, inside, p.dst)
	}
	require.Len(t, r.nat.came, 100)
	require.Len(t, m.came, 100)
	require.True(t, r.nat.expired(m, time.Second))
	require.Empty(t, r.nat.came)
	require.Empty(t, r.nat.byIn)
	require.Empty(t, r.nat.byPort)
}

// Were it two steps, a reader could come between them and leave the error for a
// later send.
func TestARefusalAndItsErrorComeTogether(t *testing.T) {
	s := openSock(t, NewNet(t, Config{}).Host("a", "10.0.0.1"))
	s.report(socket.Report{}, eCONNREFUSED)
	_, err := s.mayWrite(true)
	require.ErrorIs(t, err, eCONNREFUSED)
	s.report(socket.Report{}, eCONNREFUSED)
	_, reports, _, _, _ := s.next(false, false, 0)
	require.Len(t, reports, 2)
	_, err = s.mayWrite(true)
	require.NoError(t, err)
}

// A socket sends by two links, and the one it has used last is the first to be free.
func TestASendWaitsForTheFirstDatagramThatLeaves(t *testing.T) {
	s := openSock(t, NewNet(t, Config{}).Host("a", "10.0.0.1"))
	s.leaving = []leaving{{at: 10 * time.Second, bytes: 2 * s.opts.WriteBuffer}, {at: 2 * time.Second, bytes: 1}}
	require.Equal(t, time.Second, s.full(time.Second))
	require.Equal(t, 7*time.Second, s.full(3*time.Second))
	require.Zero(t, s.full(11*time.Second))
}

// A send that waits for room would take a second.
func TestABatchThatDoesNotWaitSaysThatThereIsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNet(t, Config{})
		a := n.Host("a", "10.0.0.1")
		n.Host("b", "10.0.0.2")
		a.Out().Set(Faults{Rate: 8000}) // 1000 bytes a second
		opened, err := a.Network().Open(context.Background(), "udp4", netip.MustParseAddrPort("10.0.0.1:7"),
			socket.Options{WriteBuffer: 4000}) // 8000 with what the kernel takes for itself
		require.NoError(t, err)
		defer opened.Close()
		began := time.Now()
		ms := make([]socket.Message, 9)
		for i := range ms {
			ms[i] = socket.Message{Data: make([]byte, 972), To: netip.MustParseAddrPort("10.0.0.2:7")}
		}
		require.NoError(t, opened.SetWriteDeadline(time.Unix(1, 0))) // only for sends that wait
		sent, err := opened.SendBatch(ms, false)
		require.ErrorIs(t, err, eAGAIN)
		require.Equal(t, 5, sent)
		require.Equal(t, sys.Again, sys.Classify(err))
		require.Zero(t, time.Since(began))
		time.Sleep(time.Second)
		sent, err = opened.SendBatch(ms, false)
		require.ErrorIs(t, err, eAGAIN)
		require.Equal(t, 1, sent)
	})
}
