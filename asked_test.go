package udp_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// A million peers do not make the table grow without bound, and those that were heard
// last, or are answered, stay in it.
func TestAskedIsBounded(t *testing.T) {
	var a udp.Asked
	local := netip.MustParseAddr("192.0.2.1")
	peer := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1000)
	}
	favorite := netip.MustParseAddrPort("198.51.100.1:1000")
	udp.NoteAsked(&a, favorite, local)
	for i := range 1 << 20 {
		udp.NoteAsked(&a, peer(i), local)
		if i%udp.MaxAsked == 0 {
			require.Equal(t, local, udp.AskedOf(&a, favorite))
		}
		if n := udp.AskedPeers(&a); n > 2*udp.MaxAsked {
			t.Fatalf("%d peers are remembered", n)
		}
	}
	require.Equal(t, local, udp.AskedOf(&a, peer(1<<20-udp.MaxAsked)))
	require.False(t, udp.AskedOf(&a, peer(0)).IsValid())
	other := netip.MustParseAddr("192.0.2.2")
	udp.NoteAsked(&a, favorite, other)
	require.Equal(t, other, udp.AskedOf(&a, favorite))
}
