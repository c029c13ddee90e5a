package udptest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/conformance"
	"github.com/udpkit/udp/udptest"
)

func TestTheSimulationKeepsEveryPromise(t *testing.T) {
	for _, network := range []string{"udp", "udp4", "udp6"} {
		for _, hosts := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s on %d hosts", network, hosts), func(t *testing.T) {
				conformance.Run(t, synctest.Test, func(t *testing.T) conformance.Suite {
					n := udptest.NewNet(t, udptest.Config{})
					a := n.Host("a", "10.0.0.1/24", "fd00::1/64")
					b := a
					s := conformance.Suite{Network: network, Interface: a.Interface("eth0").NetInterface()}
					s.Settle = func() { time.Sleep(time.Millisecond); synctest.Wait() }
					if hosts == 2 {
						b = n.Host("b", "10.0.0.2/24", "fd00::2/64")
					}
					s.A.Config, s.B.Config = on(a), on(b)
					index := 0
					if network == "udp6" {
						index = 1
						s.Group, s.Other = netip.MustParseAddr("ff02::1:1"), netip.MustParseAddr("fd00::9")
					} else {
						s.Group, s.Other = netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("10.0.0.9")
						s.Broadcast = netip.MustParseAddr("10.0.0.255")
					}
					s.SetDown = b.Interface("eth0").SetDown
					s.Slow = func() {
						out := a.Out()
						if hosts == 1 {
							out = a.Interface("lo").Out()
						}
						out.Set(udptest.Faults{Rate: 8000})
					}
					if s.Second = netip.MustParseAddr("10.0.0.3"); network == "udp6" {
						s.Second = netip.MustParseAddr("fd00::3")
					}
					b.Interface("eth0").AddAddr(s.Second.String())
					s.IPv6 = netip.MustParseAddr(fmt.Sprint("fd00::", hosts))
					addr := func(h *udptest.Host) netip.Addr {
						ifs, err := h.Network().Interfaces()
						require.NoError(t, err)
						return ifs[1].Addrs[index].Addr()
					}
					s.A.Addr, s.B.Addr = addr(a), addr(b)
					return s
				})
			})
		}
	}
}
