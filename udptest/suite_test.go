package udptest_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/udptest"
)

func TestTheSimulationKeepsEveryPromise(t *testing.T) {
	for _, network := range []string{"udp", "udp4", "udp6"} {
		for _, hosts := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s on %d hosts", network, hosts), func(t *testing.T) {
				udptest.TestNetwork(t, func(t *testing.T) udptest.Suite {
					n := udptest.NewNet(udptest.Config{T: t})
					a := n.Host("a", "10.0.0.1/24", "fd00::1/64")
					b := a
					s := udptest.Suite{Network: network, Interface: a.Interface("eth0").Interface()}
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
				}, synctest.Test)
			})
		}
	}
}

func TestTheKernelKeepsEveryPromise(t *testing.T) {
	lo := loopback(t)
	for _, network := range []string{"udp", "udp4", "udp6"} {
		for _, adopted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, adopted %v", network, adopted), func(t *testing.T) {
				// Loopback interfaces have no route for IPv6's groups of themselves: see
				// suite_linux_test.go.
				overKernel(t, network, adopted, lo, network != "udp6")
			})
		}
	}
}

// overKernel runs the suite over the kernel's loopback interface.
func overKernel(t *testing.T, network string, adopted bool, lo *net.Interface, groups bool) {
	if network == "udp6" {
		c, err := net.ListenPacket("udp6", "[::1]:0")
		if err != nil {
			t.Skip("no IPv6 here: ", err)
		}
		c.Close()
	}
	udptest.TestNetwork(t, func(t *testing.T) udptest.Suite {
		s := udptest.Suite{Network: network, Interface: lo}
		s.A.Addr = netip.MustParseAddr("127.0.0.1")
		if network != "udp6" && broadcasts(loopbackBroadcast) {
			s.Broadcast = loopbackBroadcast
		}
		s.Group, s.Other = netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("127.0.0.2")
		if network == "udp6" {
			s.A.Addr = netip.IPv6Loopback()
			s.Group, s.Other = netip.MustParseAddr("ff01::1:1"), netip.MustParseAddr("fd00::9")
		}
		s.Second = another(network)
		if network == "udp" {
			s.IPv6 = netip.IPv6Loopback()
			if !bindable("udp6", s.IPv6) {
				s.IPv6 = netip.Addr{}
			}
		}
		if !groups {
			s.Group = netip.Addr{}
		}
		if adopted {
			s.A.Make = packetConn
		}
		s.B = s.A
		return s
	})
}

func loopback(t *testing.T) *net.Interface {
	ifs, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback != 0 {
			return &i
		}
	}
	t.Skip("no loopback interface")
	return nil
}

// packetConn makes a socket as those have that are adopted.
func packetConn(network, address string) (*net.UDPConn, error) {
	c, err := net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// another is an address of the loopback interface beside the first; Linux has more.
func another(network string) netip.Addr {
	if a := netip.MustParseAddr("127.0.0.2"); network != "udp6" && bindable("udp4", a) {
		return a
	}
	return netip.Addr{}
}

func bindable(network string, a netip.Addr) bool {
	c, err := net.ListenPacket(network, netip.AddrPortFrom(a, 0).String())
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// loopbackBroadcast is what Linux has; other systems have none.
var loopbackBroadcast = netip.MustParseAddr("127.255.255.255")

// broadcasts says whether what is sent to an address comes back. Package net's
// sockets may broadcast.
func broadcasts(to netip.Addr) bool {
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return false
	}
	defer c.Close()
	port := uint16(c.LocalAddr().(*net.UDPAddr).Port)
	if _, err := c.WriteToUDPAddrPort([]byte("?"), netip.AddrPortFrom(to, port)); err != nil {
		return false
	}
	// It is there when the send has returned, or never.
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	_, _, err = c.ReadFromUDPAddrPort(make([]byte, 1))
	return err == nil
}
