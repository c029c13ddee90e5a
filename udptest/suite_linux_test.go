package udptest_test

import (
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
		d0 := ns.Interface("d0")
		udptest.TestNetwork(t, func(*testing.T) udptest.Suite {
			here := udptest.Side{Addr: netip.MustParseAddr("fd00::1")}
			return udptest.Suite{
				Network: "udp6", A: here, B: here, Interface: d0,
				Group: netip.MustParseAddr("ff02::1:1"), Other: netip.MustParseAddr("fd00::9"),
			}
		})
	})
}
