package packetconn

import (
	"net"
	"net/netip"
)

// Addr holds a net.UDPAddr and its IP in one allocation.
type Addr struct {
	addr net.UDPAddr
	ip   [16]byte
}

// Set sets an address in the form of package net: with 4 bytes on an IPv4 socket, and
// with 16 on others.
func (m *Addr) Set(from netip.AddrPort, ipv4 bool) *net.UDPAddr {
	a := from.Addr()
	if m.addr.IP = m.ip[:]; ipv4 {
		*(*[4]byte)(m.ip[:]) = a.As4()
		m.addr.IP = m.ip[:4:4]
	} else {
		m.ip = a.As16()
	}
	m.addr.Port, m.addr.Zone = int(from.Port()), a.Zone()
	return &m.addr
}

// addrsAtOnce is the number of addresses that are allocated together, for datagrams of
// one coalesced packet. A program that keeps one of them keeps all.
const addrsAtOnce = 8

// sender returns the sender of d as a net.Addr, which the caller may change. The caller
// holds reading.
func (c *Conn) sender(d *Delivery) *net.UDPAddr {
	if len(c.addrs) == 0 {
		n := 1
		if size := d.Packet.Segment; size > 0 {
			n += (len(d.Packet.Data) - d.end + size - 1) / size
		}
		c.addrs = make([]Addr, min(n, addrsAtOnce))
	}
	m := &c.addrs[0]
	c.addrs = c.addrs[1:]
	return m.Set(d.Packet.From, c.ipv4)
}

// AddrPort is an address of a program in another form.
func (c *Conn) AddrPort(a *net.UDPAddr) netip.AddrPort { return AddrPort(a, c.ipv4) }

// AddrPort is an address in another form. One without an IP is unspecified.
func AddrPort(a *net.UDPAddr, ipv4 bool) netip.AddrPort {
	switch {
	case a == nil:
		return netip.AddrPort{}
	case len(a.IP) > 0:
		return a.AddrPort()
	case ipv4:
		return netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(a.Port))
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(a.Port))
}

// ThisHost returns the loopback address for the unspecified one, as systems do.
func ThisHost(a netip.Addr) netip.Addr {
	switch a {
	case netip.IPv4Unspecified():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case netip.IPv6Unspecified():
		return netip.IPv6Loopback()
	}
	return a
}
