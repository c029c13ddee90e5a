package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
	"golang.org/x/net/ipv4"
)

// Read is ReadFrom without the sender. With an empty b it returns at once.
func (c *PacketConn) Read(b []byte) (int, error) {
	if len(b) == 0 && c.ok() && !c.conn.closed() {
		return 0, nil
	}
	n, _, _, _, err := c.read("read", b, nil)
	return n, err
}

// ReadFrom waits for a datagram, copies it into b and returns its length and its
// sender, a [*net.UDPAddr]. If b is too short the rest of the datagram is discarded,
// which [Stats.Cut] counts.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, addr, err := c.ReadFromUDP(b)
	if addr == nil {
		return n, nil, err
	}
	return n, addr, err
}

// ReadFromUDP is ReadFrom with another type of address.
func (c *PacketConn) ReadFromUDP(b []byte) (n int, addr *net.UDPAddr, err error) {
	if !c.ok() {
		return 0, nil, syscall.EINVAL
	}
	n, addr, err = c.data.ReadFrom(b)
	return n, addr, c.opError("read", c.local, c.remote, err)
}

// ReadFromUDPAddrPort is ReadFrom without an allocation. As in package net, on a socket
// of both families the address of an IPv4 sender has its 4-in-6 form.
func (c *PacketConn) ReadFromUDPAddrPort(b []byte) (n int, addr netip.AddrPort, err error) {
	n, _, _, addr, err = c.read("recvfrom", b, nil)
	return n, addr, err
}

// ReadMsgUDP is ReadFrom that also copies control messages into oob, and returns their
// length and flags: MSG_TRUNC if b was too short, and MSG_CTRUNC if oob was too short
// and not empty.
func (c *PacketConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	n, oobn, flags, from, err := c.ReadMsgUDPAddrPort(b, oob)
	if from.IsValid() {
		addr = net.UDPAddrFromAddrPort(from)
	}
	return n, oobn, flags, addr, err
}

// ReadMsgUDPAddrPort is ReadMsgUDP without an allocation.
func (c *PacketConn) ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	return c.read("recvmsg", b, oob)
}

func (c *PacketConn) read(call string, b, oob []byte) (n, oobn, flags int, from netip.AddrPort, err error) {
	if !c.ok() {
		return 0, 0, 0, from, syscall.EINVAL
	}
	n, oobn, flags, from, err = c.data.ReadMsg(call, b, oob)
	return n, oobn, flags, from, c.opError("read", c.local, c.remote, err)
}

// ReadBatch reads up to len(ms) datagrams, as [ipv4.PacketConn.ReadBatch] does. It
// waits only for the first. It sets Addr, N, NN and Flags. The argument flags must be
// 0.
func (c *PacketConn) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	if flags != 0 {
		return 0, c.opError("read", c.local, c.remote, errors.ErrUnsupported)
	}
	if len(ms) == 0 {
		return 0, nil
	}
	n, err := c.data.ReadBatch(ms)
	return n, c.opError("read", c.local, c.remote, err)
}

// Receive waits for a datagram, stores up to len(ds) datagrams of one read in ds and
// returns their number. It does not copy payloads. The caller owns the datagrams and
// must call [Datagram.Release] for each. [Datagram.Reply] sends at once.
func (c *PacketConn) Receive(ds []Datagram) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	if len(ds) == 0 {
		return 0, nil
	}
	d, err := c.data.Next(nil, true)
	if err != nil {
		return 0, c.opError("read", c.local, c.remote, c.data.ReadError("recvmmsg", err))
	}
	var (
		n, leased int
		of        *socket.Packet
		shared    *packet // by the datagrams of one
	)
	for more := true; more; {
		if p := d.Packet; p != of || leased == buffer.MaxLease {
			shared, of, leased = newPacket(), p, 0
			shared.describe(p, c.headers.find(c.conn, p))
			shared.lease.Init(p.Buf, p.Data[d.Start:], p.Segment)
		}
		leased++
		ds[n] = Datagram{Data: d.Data(), From: of.From, packet: shared}
		ds[n].Retain()
		if n++; n == len(ds) {
			break
		}
		d, more = c.data.Following()
	}
	c.data.Done(n)
	return n, nil
}

// Write sends b to the peer. Without one it fails with EDESTADDRREQ.
func (c *PacketConn) Write(b []byte) (int, error) {
	if !c.ok() {
		return 0, syscall.EINVAL
	}
	return c.wrote(len(b), c.remote, c.data.Write(b))
}

// WriteTo sends b to an address, a [*net.UDPAddr]. As in package net, the unspecified
// address means this host. On a connected socket the error is
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
		return c.wrote(0, addrPort{addr}, err)
	}
	return len(b), nil
}

// WriteMsgUDP sends b with control messages: source address and interface, traffic
// class, and TTL. UDP_SEGMENT divides b into several datagrams, on every system. The
// address must be nil on a connected socket.
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
		_, err = c.wrote(0, addrPort{addr}, err)
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
// cannot be sent, and returns its error if no message was sent. It sets N. The
// argument flags must be 0.
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

// addrPort is an address in the errors of methods that take one, with package net's text.
type addrPort struct{ netip.AddrPort }

// Network implements net.Addr.
func (addrPort) Network() string { return "udp" }

// opAddr is a as a net.Addr, which is nil if a is.
func opAddr(a *net.UDPAddr) net.Addr {
	if a == nil {
		return nil
	}
	return a
}

// SyscallConn returns the raw connection. Its first Read turns UDP_GRO off, so that
// code that reads the descriptor itself, like golang.org/x/net/ipv4, gets single
// datagrams. Stats does not count those. The methods of PacketConn still return
// datagrams that were read before. On a simulated network Control does nothing and
// returns nil, and Read and Write fail with [errors.ErrUnsupported].
func (c *PacketConn) SyscallConn() (syscall.RawConn, error) {
	if !c.ok() {
		return nil, syscall.EINVAL
	}
	return c.data.SyscallConn(func(op string, err error) error {
		if op == "raw-control" { // as package net has it
			return c.opError(op, nil, c.local, err)
		}
		return c.opError(op, c.local, c.remote, err)
	})
}
