package udp_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/udpkit/udp/internal/conformance"
	"github.com/udpkit/udp/internal/sockettest"
)

func TestTheKernelKeepsEveryPromise(t *testing.T) {
	lo := loopbackInterface(t)
	for _, network := range []string{"udp", "udp4", "udp6"} {
		for _, adopted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, adopted %v", network, adopted), func(t *testing.T) {
				// A loopback interface has no route to IPv6 groups of its own accord: see
				// conformance_linux_test.go.
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
	conformance.Run(t, conformance.RealTime, func(t *testing.T) conformance.Suite {
		s := conformance.Suite{Network: network, Interface: lo, Coalesces: sockettest.LoopbackCoalesces()}
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

// packetConn opens a socket for Adopt.
func packetConn(network, address string) (*net.UDPConn, error) {
	c, err := net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// another returns a second address of the loopback interface. Only Linux has one.
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

// loopbackBroadcast is the broadcast address of Linux's loopback interface; other systems
// have none.
var loopbackBroadcast = netip.MustParseAddr("127.255.255.255")

// broadcasts reports whether a datagram sent to an address comes back. Package net allows
// its sockets to broadcast.
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
	// On a loopback interface it has arrived when the send returns.
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	_, _, err = c.ReadFromUDPAddrPort(make([]byte, 1))
	return err == nil
}
