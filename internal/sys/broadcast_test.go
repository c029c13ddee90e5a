package sys

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/socket"
)

// macOS and the BSDs report the destination of a datagram, but not that it is a broadcast
// address: a reply must not leave from one.
func TestBroadcastAddressesAreNobodys(t *testing.T) {
	lists := 0
	prefix := netip.MustParsePrefix
	ifs := []socket.Interface{
		{Interface: net.Interface{Name: "lo", Flags: net.FlagUp | net.FlagLoopback}, Addrs: []netip.Prefix{prefix("127.0.0.1/8")}},
		{Interface: net.Interface{Name: "eth", Flags: net.FlagUp | net.FlagBroadcast}, Addrs: []netip.Prefix{
			prefix("192.168.1.7/24"), prefix("10.1.2.3/8"), prefix("172.16.0.5/31"), prefix("172.16.9.9/32"), prefix("2001:db8::1/64")}},
		{Interface: net.Interface{Name: "tun", Flags: net.FlagUp | net.FlagPointToPoint}, Addrs: []netip.Prefix{prefix("10.9.0.1/24")}},
	}
	var fails error
	b := broadcasts{list: func() ([]socket.Interface, error) { lists++; return ifs, fails }}
	now := time.Unix(1000, 0)
	for address, is := range map[string]bool{
		"192.168.1.255": true, "10.255.255.255": true,
		"192.168.1.7": false, "192.168.2.255": false, "127.255.255.255": false, "10.9.0.255": false,
		"172.16.0.5": false, "172.16.0.4": false, "172.16.9.9": false, "224.0.0.251": false, "2001:db8::1": false,
	} {
		require.Equal(t, is, b.has(netip.MustParseAddr(address), now), address)
	}
	require.Equal(t, 1, lists, "the interfaces are not listed for each datagram")

	ifs[1].Addrs = []netip.Prefix{prefix("192.168.2.7/24")}
	require.False(t, b.has(netip.MustParseAddr("192.168.2.255"), now.Add(broadcastsTTL)))
	require.True(t, b.has(netip.MustParseAddr("192.168.2.255"), now.Add(broadcastsTTL+1)), "addresses change")
	fails = errors.New("no descriptor is left")
	later := now.Add(3 * broadcastsTTL)
	require.False(t, b.has(netip.MustParseAddr("192.168.2.255"), later))
	fails = nil
	require.True(t, b.has(netip.MustParseAddr("192.168.2.255"), later), "it is tried again")
}
