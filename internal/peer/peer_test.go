package peer_test

import (
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/life"
	"github.com/udpkit/udp/internal/peer"
	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

var (
	first  = netip.MustParseAddrPort("192.0.2.1:1")
	second = netip.MustParseAddrPort("192.0.2.2:2")
)

// fake is a socket that only has addresses.
type fake struct {
	socket.Socket
	connecting func(to netip.AddrPort) error // nil: succeeds
	asked      int                           // calls of Local
	rebinds    atomic.Uint64
}

func (f *fake) Connect(to netip.AddrPort) (netip.AddrPort, error) {
	if f.connecting != nil {
		return to, f.connecting(to)
	}
	return to, nil
}

func (f *fake) Disconnect() error { return nil }

func (f *fake) Local() netip.AddrPort {
	f.asked++
	return netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(f.asked))
}

func (f *fake) Rebinds() uint64                    { return f.rebinds.Load() }
func (f *fake) Info() socket.Info                  { return socket.Info{} }
func (f *fake) Zone(string) (name string, ok bool) { return "", false }

func newPeer() (*peer.Peer, *fake, *life.Life) {
	p, f, l, out := new(peer.Peer), new(fake), new(life.Life), new(send.Outbox)
	l.Init()
	out.Init(send.Config{Socket: f, Family: socket.IPv4, Life: l, Peer: &p.Current})
	p.Init(out, false)
	return p, f, l
}

func TestConnectNeedsASocketWithoutAPeerAndTheOthersOneWith(t *testing.T) {
	p, _, l := newPeer()
	require.False(t, p.Addr().IsValid())
	require.ErrorIs(t, p.Reconnect(first), sys.ENOTCONN)
	require.ErrorIs(t, p.Disconnect(), sys.ENOTCONN)

	require.NoError(t, p.Connect(first))
	require.ErrorIs(t, p.Connect(second), sys.EISCONN)
	require.Equal(t, first, p.Addr())
	require.NoError(t, p.Reconnect(second))
	require.Equal(t, second, p.Addr())
	require.Equal(t, first, p.Or(first))
	require.Equal(t, second, p.Or(netip.AddrPort{}))

	require.NoError(t, p.Disconnect())
	require.Nil(t, p.Current.Load())
	require.False(t, p.Or(netip.AddrPort{}).IsValid())

	require.NoError(t, p.Connect(netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")))
	require.Equal(t, first, p.Addr(), "an address is never 4-in-6")
	l.Close()
	require.ErrorIs(t, p.Reconnect(second), net.ErrClosed)
	require.ErrorIs(t, p.Disconnect(), net.ErrClosed)
	p.Stop()
}

func TestAFailedChangeLeavesThePeer(t *testing.T) {
	p, f, _ := newPeer()
	for to, want := range map[string]error{
		"[2001:db8::1]:1": socket.ErrFamily,
		"192.0.2.1:0":     new(net.AddrError),
		"":                new(net.AddrError),
	} {
		addr, _ := netip.ParseAddrPort(to)
		err := p.Connect(addr)
		if _, ok := want.(*net.AddrError); ok {
			require.ErrorAs(t, err, new(*net.AddrError), to)
		} else {
			require.ErrorIs(t, err, want, to)
		}
		require.Nil(t, p.Current.Load())
	}
	require.NoError(t, p.Connect(first))
	f.connecting = func(netip.AddrPort) error { return syscall.ENETUNREACH }
	require.ErrorIs(t, p.Reconnect(second), syscall.ENETUNREACH)
	require.Equal(t, first, p.Addr())
	require.False(t, p.IsNext(second))
}

// The kernel lets the new peer in before the call that connects has returned.
func TestTheNextPeerIsKnownWhileItBecomesThePeer(t *testing.T) {
	p, f, _ := newPeer()
	f.connecting = func(to netip.AddrPort) error {
		require.True(t, p.IsNext(to))
		require.False(t, p.IsNext(first) && p.IsNext(second))
		return nil
	}
	require.NoError(t, p.Connect(first))
	require.NoError(t, p.Reconnect(second))
	require.False(t, p.IsNext(second), "it is current")
}

func TestTheOwnAddressIsAskedForWhenItMayHaveChanged(t *testing.T) {
	p, f, l := newPeer()
	asked := func(n int) {
		t.Helper()
		for range 3 {
			require.EqualValues(t, n, p.Local().Port())
		}
	}
	asked(1)
	require.NoError(t, p.Connect(first))
	asked(2)
	f.rebinds.Add(1)
	asked(3)
	require.NoError(t, p.Disconnect())
	asked(4)
	l.Close()
	f.rebinds.Add(1) // a closed socket has no other address any more
	asked(4)
}

func TestAnAdoptedSocketHasItsPeer(t *testing.T) {
	p, _, _ := newPeer()
	p.Adopt(netip.AddrPort{})
	require.Nil(t, p.Current.Load())
	p.Adopt(first)
	require.Equal(t, first, p.Addr())
	require.ErrorIs(t, p.Connect(second), sys.EISCONN)
}
