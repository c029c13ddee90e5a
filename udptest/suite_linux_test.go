package udptest_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/udptest"
)

func TestTheKernelKeepsEveryPromiseAboutIPv6Groups(t *testing.T) {
	netns.Isolated(t, func() {
		ns := netns.Self(t)
		netns.Veth(t, ns, "d0", netns.New(t), "d1")
		ns.Addr("d0", "fd00::1/64")
		ns.Addr("d0", "fd00::3/64")
		d0 := ns.Interface("d0")
		for _, adopted := range []bool{false, true} {
			t.Run(fmt.Sprintf("adopted %v", adopted), func(t *testing.T) {
				udptest.TestNetwork(t, func(*testing.T) udptest.Suite {
					here := udptest.Side{Addr: netip.MustParseAddr("fd00::1")}
					if adopted {
						here.Make = packetConn
					}
					return udptest.Suite{
						Network: "udp6", A: here, B: here, Interface: d0, Second: netip.MustParseAddr("fd00::3"),
						Group: netip.MustParseAddr("ff02::1:1"), Other: netip.MustParseAddr("fd00::9"),
					}
				})
			})
		}
	})
}
