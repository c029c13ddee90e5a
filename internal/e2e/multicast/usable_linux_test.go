package multicast_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// OnMembership is called when a datagram can be sent to the group, after duplicate address
// detection (RFC 4862), which takes a second or two: an announcement made there is heard.
func TestOnMembershipWhenAnAddressBecomesUsable(t *testing.T) {
	netns.Run(t, func() {
		group := netip.MustParseAddr("ff02::fb")
		for _, test := range []struct {
			name  string
			named bool
			addrs []string
		}{
			{"all interfaces", false, []string{"-6 addr add fe80::1/64 dev eth"}},
			{"a named interface", true, []string{"-6 addr add fe80::1/64 dev eth"}},
			{"with IPv4", true, []string{"addr add 192.0.2.1/24 dev eth", "-6 addr add fe80::1/64 dev eth"}},
			{"several addresses", false, []string{"-6 addr add fe80::1/64 dev eth", "-6 addr add 2001:db8::1/64 dev eth"}},
		} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				here, there := netns.New(t), netns.New(t)
				netns.Veth(t, here, "eth", there, "eth")
				there.Addr("eth", "fe80::2/64")
				far := joinIn(t, there, udp.Config{}, "udp6", ":0", group)
				m := joinIn(t, here, udp.Config{}, "udp6", ":0")
				var ifs []*net.Interface
				if test.named {
					ifs = append(ifs, here.Interface("eth"))
				}
				require.NoError(t, m.Join(group, ifs...))
				for _, addr := range test.addrs {
					here.IP(addr)
				}
				calls := 0
				for {
					sockettest.Next(t, m.changes)
					calls++
					if _, err := m.SendGroup([]byte("announce"), group, far.port(), here.Interface("eth")); err == nil {
						break
					}
				}
				d := sockettest.Next(t, far.queue.Datagrams())
				require.Equal(t, "announce", string(d.Data))
				t.Log("OnMembership calls:", calls)
			})
		}
	})
}
