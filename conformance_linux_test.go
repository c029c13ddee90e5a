package udp_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/udpkit/udp/internal/conformance"
	"github.com/udpkit/udp/internal/netns"
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
				conformance.Run(t, conformance.RealTime, func(*testing.T) conformance.Suite {
					here := conformance.Side{Addr: netip.MustParseAddr("fd00::1")}
					if adopted {
						here.Make = packetConn
					}
					return conformance.Suite{
						Network: "udp6", A: here, B: here, Interface: d0, Second: netip.MustParseAddr("fd00::3"),
						Group: netip.MustParseAddr("ff02::1:1"), Other: netip.MustParseAddr("fd00::9"),
					}
				})
			})
		}
	})
}

// A namespace of the test may be slow, or without an interface for a while. The host's may not.
func TestTheKernelKeepsEveryPromiseInANamespace(t *testing.T) {
	netns.Isolated(t, func() {
		ns := netns.Self(t)
		netns.Veth(t, ns, "d0", netns.New(t), "d1")
		ns.Addr("d0", "10.9.0.1/24")
		ns.Addr("d0", "10.9.0.3/24")
		d0 := ns.Interface("d0")
		const bucket = "dev lo root tbf rate 8kbit burst 1600 limit 1000000"
		_, slow := ns.Try("tc", strings.Fields("qdisc add "+bucket)...)
		if slow == nil {
			ns.Command("tc", strings.Fields("qdisc del dev lo root")...)
		}
		conformance.Run(t, conformance.RealTime, func(t *testing.T) conformance.Suite {
			here := conformance.Side{Addr: netip.MustParseAddr("10.9.0.1")}
			s := conformance.Suite{
				Network: "udp4", A: here, B: here, Interface: d0, Second: netip.MustParseAddr("10.9.0.3"),
				Group: netip.MustParseAddr("239.1.2.3"), Other: netip.MustParseAddr("10.9.0.9"),
				Broadcast: netip.MustParseAddr("10.9.0.255"),
				SetDown: func(down bool) {
					if down {
						ns.IP("link set d0 down")
						return
					}
					ns.IP("link set d0 up")
					ns.AwaitRunning("d0")
				},
			}
			if slow == nil {
				s.Slow = func() {
					ns.Command("tc", strings.Fields("qdisc add "+bucket)...)
					t.Cleanup(func() { ns.Command("tc", strings.Fields("qdisc del dev lo root")...) })
				}
			}
			return s
		})
	})
}
