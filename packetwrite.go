package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// Write sends b to the peer. Without one it fails with EDESTADDRREQ.
func (c *PacketConn) Write(b []byte) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	err := error(nil)
	switch {
	case c.closing.Load():
		err = c.failed(net.ErrClosed)
	case c.remote == nil:
		err = c.failed(os.NewSyscallError("write", sys.EDESTADDRREQ))
	default:
		err = c.send("write", &socket.Message{Data: b})
	}
	return c.wrote(len(b), c.remote, err)
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
		return c.wrote(0, addr, c.failed(sys.EINVAL))
	}
	return c.WriteToUDP(b, a)
}

// WriteToUDP is WriteTo with another type of address.
func (c *PacketConn) WriteToUDP(b []byte, addr *net.UDPAddr) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	err := c.writeTo(b, c.addrPort(addr))
	return c.wrote(len(b), opAddr(addr), err)
}

// WriteToUDPAddrPort is WriteTo without an allocation.
func (c *PacketConn) WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	if err := c.writeTo(b, addr); err != nil {
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
	if err = c.writeMsg(b, oob, c.addrPort(addr)); err != nil {
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
	if err = c.writeMsg(b, oob, addr); err != nil {
		_, err = c.wrote(0, net.UDPAddrFromAddrPort(addr), err)
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

func (c *PacketConn) writeTo(b []byte, to netip.AddrPort) error {
	m := socket.Message{Data: b}
	err := c.target(&m, to)
	if c.remote != nil {
		err = net.ErrWriteToConnected
	}
	if err != nil {
		return c.failed(err)
	}
	return c.send("sendto", &m)
}

func (c *PacketConn) writeMsg(b, oob []byte, to netip.AddrPort) error {
	m := socket.Message{Data: b}
	err := c.target(&m, to)
	if err == nil {
		err = c.obey(&m, oob)
	}
	if err != nil {
		return c.failed(err)
	}
	return c.send("sendmsg", &m)
}

// target says where m is to go, by package net's rules for an address of a program,
// and from which address.
func (c *PacketConn) target(m *socket.Message, to netip.AddrPort) error {
	a := to.Addr().Unmap()
	switch {
	case c.closing.Load():
		return net.ErrClosed
	case c.remote != nil && to.IsValid():
		return net.ErrWriteToConnected
	case c.remote != nil:
		return nil
	case !a.IsValid():
		return &net.AddrError{Err: "missing address"}
	case c.ipv4 && !a.Is4():
		return &net.AddrError{Err: "non-IPv4 address", Addr: a.String()}
	case to.Port() == 0:
		return os.NewSyscallError("sendto", sys.EINVAL)
	}
	m.To = netip.AddrPortFrom(thisHost(a), to.Port())
	if c.asked != nil {
		m.From = c.asked.of(m.To)
	}
	return nil
}

// thisHost returns the loopback address for the unspecified one, as systems do.
func thisHost(a netip.Addr) netip.Addr {
	switch a {
	case netip.IPv4Unspecified():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case netip.IPv6Unspecified():
		return netip.IPv6Loopback()
	}
	return a
}

// obey does what control messages ask for.
func (c *PacketConn) obey(m *socket.Message, oob []byte) error {
	if len(oob) == 0 {
		return nil
	}
	var s cmsg.Sending
	if !s.Parse(oob) {
		return os.NewSyscallError("sendmsg", sys.EINVAL)
	}
	if s.From.IsValid() {
		m.From = s.From
	}
	m.IfIndex = s.IfIndex
	m.TrafficClass, m.TTL = s.TrafficClass, s.TTL
	if s.Segment > 0 && len(m.Data) > s.Segment {
		m.Segment = s.Segment
	}
	return nil
}

func (c *PacketConn) addrPort(a *net.UDPAddr) netip.AddrPort { return addrPort(a, c.ipv4) }

// addrPort is an address in another form. One without an IP is unspecified.
func addrPort(a *net.UDPAddr, ipv4 bool) netip.AddrPort {
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

// send sends m, which may be several datagrams, after what was enqueued before.
func (c *PacketConn) send(call string, m *socket.Message) error {
	k := c.conn
	k.out.Flush()
	if err := k.out.Address(m); err != nil {
		return c.failed(err)
	}
	if m.Segment > 0 {
		if err := c.sendSegments(m); err != nil {
			return c.failed(sys.Call(call, err))
		}
		return nil
	}
	if err := k.sock.Send(*m); err != nil {
		if err = c.again(*m, err); err != nil {
			return c.failed(sys.Call(call, err))
		}
		return nil
	}
	k.stats.CountSent(1, len(m.Data))
	return nil
}

// sendSegments sends what is several datagrams, one by one where the socket can't send
// them together.
func (c *PacketConn) sendSegments(m *socket.Message) error {
	if c.sock.Segments() > 1 {
		_, err := c.sendMessages([]socket.Message{*m})
		return err
	}
	for rest := []socket.Message{*m}; len(rest) > 0; rest, _ = gso.Skip(rest, 1) {
		if _, err := c.sendMessages([]socket.Message{gso.First(rest)}); err != nil {
			return err
		}
	}
	return nil
}

// again repeats the send of a datagram that failed with err, if that may help.
func (c *PacketConn) again(m socket.Message, err error) error {
	k := c.conn
	class := sys.Classify(err)
	if class == sys.Report && c.remote != nil && !k.cfg.PeerErrors {
		k.refused(k.refusal(socket.Report{Err: sys.ErrnoOf(err)})) // as package net, which has no other way to tell a program that never reads
		return err
	}
	if c.asked != nil && m.From.IsValid() && (class == sys.Down || errors.Is(err, sys.EINVAL)) && c.asked.forget(m.To, m.From) {
		m.From = netip.Addr{} // this host has it no more
		if err = k.sock.Send(m); err == nil {
			k.stats.CountSent(1, len(m.Data))
			return nil
		}
	}
	err, _ = k.out.Again(m, err, send.Patient)
	return err
}

// failed counts a datagram that was not sent.
func (c *PacketConn) failed(err error) error {
	c.conn.out.CountFailure(err)
	return err
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
