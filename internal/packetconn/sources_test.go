package packetconn

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/socket"
)

// A million peers do not make the table grow without bound, and those that were heard
// last, or are answered, stay in it.
func TestSourcesAreBounded(t *testing.T) {
	var s Sources
	note := func(peer netip.AddrPort, local netip.Addr) {
		s.Note(&socket.Packet{From: peer, To: netip.AddrPortFrom(local, 0), Own: true})
	}
	local := netip.MustParseAddr("192.0.2.1")
	peer := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1000)
	}
	favorite := netip.MustParseAddrPort("198.51.100.1:1000")
	note(favorite, local)
	for i := range 1 << 20 {
		note(peer(i), local)
		if i%MaxPeers == 0 {
			require.Equal(t, local, s.Of(favorite))
		}
		if n := s.peers(); n > 2*MaxPeers {
			t.Fatalf("%d peers are remembered", n)
		}
	}
	require.Equal(t, local, s.Of(peer(1<<20-MaxPeers)))
	require.False(t, s.Of(peer(0)).IsValid())
	other := netip.MustParseAddr("192.0.2.2")
	note(favorite, other)
	require.Equal(t, other, s.Of(favorite))
}
