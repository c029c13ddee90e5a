package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/udpkit/udp/internal/sys"
	"golang.org/x/net/ipv4"
)

// Write sends b to the peer. Without one it fails with EDESTADDRREQ.
func (c *PacketConn) Write(b []byte) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	return c.wrote(len(b), c.remote, c.data.Write(b))
}

// WriteTo sends b to an address, a [*net.UDPAddr]. As in package net, the unspecified
// address is this host, and on a connected socket the error is
// [net.ErrWriteToConnected].
func (c *PacketConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	a, ok := addr.(*net.UDPAddr)
	if !ok {
		return c.wrote(0, addr, c.data.Fail(sys.EINVAL))
	}
	return c.WriteToUDP(b, a)
}

// WriteToUDP is WriteTo with another type of address.
func (c *PacketConn) WriteToUDP(b []byte, addr *net.UDPAddr) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	err := c.data.WriteTo(b, c.data.AddrPort(addr))
	return c.wrote(len(b), opAddr(addr), err)
}

// WriteToUDPAddrPort is WriteTo without an allocation.
func (c *PacketConn) WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	if err := c.data.WriteTo(b, addr); err != nil {
		return c.wrote(0, net.UDPAddrFromAddrPort(addr), err)
	}
	return len(b), nil
}

// WriteMsgUDP sends b with control messages: source address and interface, traffic
// class, TTL, and UDP_SEGMENT, which makes b several datagrams, on any system.
// The address must be nil on a connected socket.
func (c *PacketConn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if !c.ok() {
		return 0, 0, syscall.EINVAL
	}
	if err = c.data.WriteMsg(b, oob, c.data.AddrPort(addr)); err != nil {
		_, err = c.wrote(0, opAddr(addr), err)
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// WriteMsgUDPAddrPort is WriteMsgUDP without an allocation.
func (c *PacketConn) WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error) {
	if !c.ok() {
		return 0, 0, syscall.EINVAL
	}
	if err = c.data.WriteMsg(b, oob, addr); err != nil {
		_, err = c.wrote(0, net.UDPAddrFromAddrPort(addr), err)
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// SendBatch is [Conn.SendBatch].
func (c *PacketConn) SendBatch(ms []Message) (sent int, err error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	return c.conn.SendBatch(ms)
}

// WriteBatch sends messages in order, as [ipv4.PacketConn.WriteBatch] does, with few
// system calls, and returns how many were sent. It stops at the first message that
// cannot be sent. If that is the first of all, its error is returned. It sets N. The
// flags must be 0.
func (c *PacketConn) WriteBatch(ms []ipv4.Message, flags int) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	if flags != 0 {
		return 0, c.opError("write", c.local, c.remote, errors.ErrUnsupported)
	}
	n, err := c.data.WriteBatch(ms)
	if err != nil {
		return c.wrote(0, ms[0].Addr, err)
	}
	return n, nil
}

// wrote is the result of a write, with the error as package net wraps it.
func (c *PacketConn) wrote(n int, to net.Addr, err error) (int, error) {
	if err != nil {
		return 0, c.opError("write", c.local, to, err)
	}
	return n, nil
}

// opAddr is a as a net.Addr, which is nil if a is.
func opAddr(a *net.UDPAddr) net.Addr {
	if a == nil {
		return nil
	}
	return a
}
