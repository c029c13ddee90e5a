package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/life"
	"github.com/udpkit/udp/internal/packetconn"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/tap"
)

// PacketConn is a UDP socket for code that expects package net. It implements
// [net.PacketConn] and [net.Conn], has all methods of [net.UDPConn], and has ReadBatch
// and WriteBatch as golang.org/x/net/ipv4 and ipv6 define them. It has no goroutine:
// the caller of a Read method reads the socket. One system call reads up to 64
// packets, each of which may be coalesced from many datagrams. Further Read calls
// return those datagrams without a system call.
//
// It differs from [net.UDPConn] as follows:
//   - If the socket is bound to every address, the source of a datagram is the address
//     to which the peer sent its last datagram, unless a control message names
//     another.
//   - Reads return control messages without a socket option: destination, interface,
//     traffic class and TTL, as far as [Info] reports them.
//   - A datagram that is too long for its path fails with a [SizeError], which wraps
//     EMSGSIZE. The zone of an interface that does not exist is an error.
//   - With [Config.PeerErrors] a read returns a [*Refusal] for each ICMP error, and no
//     write fails because of one. Without it reads and writes of a connected socket
//     return ICMP errors as in package net.
//   - A buffer that is too short for a datagram is no error on Windows either.
//   - [Config.MaxDatagram] applies, and a connected socket discards what other peers sent
//     before it was connected.
//
// On Linux, a goroutine watches the interfaces while any PacketConn is bound to a
// device or connected to an IPv6 peer, so that these sockets follow changes even if
// they only receive. All sockets share it.
//
// Its methods may be called from any goroutine. The garbage collector closes a
// PacketConn that is no longer used, as in package net, but not on a simulated network.
type PacketConn struct {
	conn          *Conn           // sends and counts; it has no goroutine
	data          packetconn.Conn // reads and writes the socket
	local, remote net.Addr        // made once; remote is nil unless connected
	headers       headerCache     // of Receive; used between data.Next and data.Done
}

var (
	_ net.PacketConn = (*PacketConn)(nil)
	_ net.Conn       = (*PacketConn)(nil)
	_ syscall.Conn   = (*PacketConn)(nil)
)

// pulledNetwork makes sockets that are read by their callers.
type pulledNetwork struct{ socket.Network }

func (n pulledNetwork) Open(ctx context.Context, network string, local netip.AddrPort, o socket.Options) (socket.Socket, error) {
	o.Pulled = true
	return n.Network.Open(ctx, network, local, o)
}

// standard returns cfg for a socket with the defaults of package net: it may send to
// broadcast addresses.
func (cfg Config) standard() Config {
	cfg.Broadcast = true
	cfg.Network = pulledNetwork{cfg.source()}
	return cfg
}

// ListenPacket is [net.ListenConfig.ListenPacket] for the networks "udp", "udp4" and
// "udp6". The address is as in [Config.Listen]; the empty string means ":0", and sending to
// broadcast addresses is allowed, as in package net.
func (cfg Config) ListenPacket(ctx context.Context, network, address string) (*PacketConn, error) {
	cfg = cfg.standard()
	if address == "" {
		address = ":0"
	}
	c, err := cfg.open(ctx, network, address, BaseHandler{})
	if err != nil {
		return nil, err
	}
	return newPacketConn(c)
}

// DialContext is [net.Dialer.DialContext] for the networks "udp", "udp4" and "udp6",
// for dial hooks such as [net.Resolver.Dial]. The net.Conn is a [*PacketConn] whose
// peer is the address. See also [Config.Dial].
func (cfg Config) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	cfg = cfg.standard()
	c, err := cfg.dial(ctx, network, address, BaseHandler{})
	if err != nil {
		return nil, err
	}
	pc, err := newPacketConn(c)
	if err != nil {
		return nil, err
	}
	return pc, nil
}

// AdoptPacket makes a PacketConn of uc. It takes ownership of uc, even if it fails.
// See [Config.Adopt].
func (cfg Config) AdoptPacket(uc *net.UDPConn) (*PacketConn, error) {
	c, peer, err := cfg.standard().adopt(uc, BaseHandler{})
	if err != nil {
		return nil, err
	}
	if peer.IsValid() {
		if err := c.peer.Connect(peer); err != nil {
			c.sock.Close()
			return nil, opError("adopt", "udp", uc.LocalAddr(), err)
		}
	}
	pc, err := newPacketConn(c)
	if err == nil {
		pc.data.Share()
	}
	return pc, err
}

func newPacketConn(c *Conn) (*PacketConn, error) {
	below := c.sock
	trace, isTraced := below.(*tap.Socket)
	if isTraced {
		below = trace.Socket
	}
	sock, ok := below.(socket.Pulled)
	if !ok {
		c.sock.Close()
		return nil, opError("listen", c.network, nil, errors.ErrUnsupported)
	}
	c.groups.check = false // programs join groups through the descriptor
	pc := &PacketConn{conn: c, local: c.LocalAddr(), remote: c.RemoteAddr()}
	info := sock.Info()
	cfg := packetconn.Config{
		Socket: sock, Out: &c.out, Puller: sock.Puller(), MaxDatagram: c.cfg.MaxDatagram,
		Connected: pc.remote != nil, Classes: info.ECN, Drop: c.countDrop, Refused: c.countReport,
	}
	if isTraced {
		cfg.Puller = trace.Puller(cfg.Puller)
	}
	if !cfg.Connected && c.LocalAddrPort().Addr().IsUnspecified() && info.PacketInfo {
		cfg.Sources = new(packetconn.Sources)
	}
	pc.data.Init(cfg)
	c.pulled = pc
	c.peer.FollowDevice()
	return pc, nil
}

func (c *PacketConn) ok() bool { return c != nil && c.conn != nil }

// opError wraps err as package net does.
func (c *PacketConn) opError(op string, source, addr net.Addr, err error) error {
	if err == nil {
		return nil
	}
	return c.netError(op, source, addr, err)
}

func (c *PacketConn) netError(op string, source, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: c.conn.network, Source: source, Addr: addr, Err: err}
}

// Close closes the socket. Blocked reads and writes return [net.ErrClosed], and so
// does a second Close. Unread datagrams are counted in [Drops.Closed]. If there are
// other descriptors of the socket (see File and AdoptPacket), datagrams in the kernel
// stay there.
func (c *PacketConn) Close() error {
	if !c.ok() {
		return syscall.EINVAL
	}
	k := c.conn
	if !k.life.Enter(life.Stopping) {
		return c.opError("close", c.local, c.remote, net.ErrClosed)
	}
	k.stop()
	k.out.Stop()
	if c.data.Shared() {
		k.stats.Kernel.Sample(k.sock, true)
	} else {
		k.stats.CountLast(k.sock)
	}
	k.peer.Stop()
	err := k.sock.Close()
	c.data.Discard()
	k.life.End()
	k.stats.Verify(k)
	return c.opError("close", c.local, c.remote, err)
}

// LocalAddr returns the address the socket is bound to, a [*net.UDPAddr].
func (c *PacketConn) LocalAddr() net.Addr {
	if !c.ok() {
		return nil
	}
	if c.conn.sock.Rebinds() > 0 && !c.conn.closed() { // the address may be another one
		return c.conn.LocalAddr()
	}
	return c.local
}

// RemoteAddr returns the peer, a [*net.UDPAddr], or nil if there is none.
func (c *PacketConn) RemoteAddr() net.Addr {
	if !c.ok() {
		return nil
	}
	return c.remote
}

// SetDeadline sets the deadlines of reads and writes.
func (c *PacketConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of future and blocked reads. A zero t means none.
// After the deadline, reads fail even if datagrams are pending; a later deadline makes
// these readable again.
func (c *PacketConn) SetReadDeadline(t time.Time) error {
	if !c.ok() {
		return syscall.EINVAL
	}
	if c.conn.closed() {
		return c.opError("set", nil, c.local, net.ErrClosed)
	}
	return c.opError("set", nil, c.local, c.data.SetReadDeadline(t))
}

// SetWriteDeadline sets the deadline of future and blocked writes. A zero t means none.
func (c *PacketConn) SetWriteDeadline(t time.Time) error {
	if !c.ok() {
		return syscall.EINVAL
	}
	err := c.conn.SetWriteDeadline(t)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return c.opError("set", nil, c.local, err)
}

// SetReadBuffer sets the size of the kernel's receive buffer, in bytes.
func (c *PacketConn) SetReadBuffer(bytes int) error {
	if !c.ok() {
		return syscall.EINVAL
	}
	return c.opError("set", nil, c.local, c.data.Socket.SetReadBuffer(bytes))
}

// SetWriteBuffer sets the size of the kernel's send buffer, in bytes.
func (c *PacketConn) SetWriteBuffer(bytes int) error {
	if !c.ok() {
		return syscall.EINVAL
	}
	return c.opError("set", nil, c.local, c.data.Socket.SetWriteBuffer(bytes))
}

// File returns a copy of the descriptor, which the caller must close. It turns UDP_GRO
// off, so that the copy reads single datagrams. On a simulated network it fails with
// [errors.ErrUnsupported].
func (c *PacketConn) File() (*os.File, error) {
	if !c.ok() {
		return nil, syscall.EINVAL
	}
	f, err := c.data.File()
	return f, c.opError("file", c.local, c.remote, err)
}

// Stats returns the counters. Received counts datagrams read from the kernel, Handled
// those returned to callers, Refused the ICMP errors returned, and Cut the datagrams
// that were longer than the caller's buffer.
func (c *PacketConn) Stats() Stats {
	if !c.ok() {
		return Stats{}
	}
	return c.conn.Stats()
}

// Info returns the features and buffer sizes that the system granted.
func (c *PacketConn) Info() Info {
	if !c.ok() {
		return Info{}
	}
	i := c.conn.Info()
	i.GRO = i.GRO && c.data.Coalesced()
	return i
}

// String names the socket for people.
func (c *PacketConn) String() string {
	if !c.ok() {
		return new(Conn).String()
	}
	return c.conn.String()
}
