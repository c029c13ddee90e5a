//go:build !race

package udp_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// The methods with netip.AddrPort do not allocate.
func TestPacketConnAddrPortDoesNotAllocate(t *testing.T) {
	for _, network := range []string{"udp4", "udp"} {
		s := listenPacket(t, udp.Config{}, network, ":0")
		to := netip.MustParseAddrPort("127.0.0.1:" + portOf(s))
		b, oob := make([]byte, 100), make([]byte, 128)
		allocs := testing.AllocsPerRun(1000, func() {
			if _, err := s.WriteToUDPAddrPort(b, to); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.ReadFromUDPAddrPort(b); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.WriteMsgUDPAddrPort(b, nil, to); err != nil {
				t.Fatal(err)
			}
			if _, _, _, _, err := s.ReadMsgUDPAddrPort(b, oob); err != nil {
				t.Fatal(err)
			}
		})
		require.Zero(t, allocs, network)
	}
}
