package udp

import (
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Config has the options of sockets. The zero value is useful. The methods that use
// a Config copy it and never change it.
type Config struct {
	// ReadBuffer and WriteBuffer ask for the sizes of the kernel's buffers in bytes; 0
	// is the system's default. Systems limit them (net.core.rmem_max on Linux,
	// kern.ipc.maxsockbuf on the BSDs). On Linux the limit does not apply with
	// CAP_NET_ADMIN. A smaller buffer is no error: [Info] has the sizes that were
	// granted.
	ReadBuffer, WriteBuffer int

	// MaxDatagram is the longest payload accepted, in bytes; 0 means any. A longer
	// datagram is dropped as a whole, never truncated, and counted in
	// [Drops.Truncated].
	MaxDatagram int

	// Broadcast allows sending to broadcast addresses. Without it such a send fails
	// with EACCES. (Package net allows it on every socket.)
	Broadcast bool

	// ReuseAddr and ReusePort set SO_REUSEADDR and SO_REUSEPORT before bind, so that
	// several sockets share a port. Each of them gets every multicast datagram. With
	// ReuseAddr, unicast goes to the socket bound last. With ReusePort, a hash of the
	// flow spreads unicast over all of them (Linux). On Windows, ReusePort means the
	// same as ReuseAddr.
	ReuseAddr, ReusePort bool

	// NoOffload turns off coalesced packets, in which the kernel passes several
	// datagrams of one sender to a read (UDP_GRO on Linux), and segmented sends
	// (UDP_SEGMENT). Both are many times faster than single datagrams. But the kernel
	// counts one drop for a coalesced packet; with NoOffload, Stats.KernelDrops counts
	// each datagram. NoOffload also helps if the offload of a device is faulty.
	NoOffload bool

	// Timestamps fills [Datagram.Time] with the kernel's receive time. Linux;
	// elsewhere it does nothing, and [Info.Timestamps] is false.
	Timestamps bool

	// PeerErrors reports ICMP errors to [Handler.Refused] on unconnected sockets too
	// (IP_RECVERR). Linux; elsewhere Listen fails with an error wrapping
	// [errors.ErrUnsupported].
	PeerErrors bool

	// MTUDiscovery decides what happens to datagrams that are longer than the path's
	// MTU, and whether ICMP errors about the MTU are trusted.
	MTUDiscovery MTUDiscovery

	// LocalAddr is the address and port that Dial binds to. It must be of the peer's
	// family. An unspecified address chooses only the port. With the zero value the
	// system chooses both. Listen ignores it.
	LocalAddr netip.AddrPort

	// Device binds the socket to the interface of this name: it sends and receives on
	// no other interface, regardless of routes. Linux (SO_BINDTODEVICE; before 5.7 it
	// needs CAP_NET_RAW) and macOS (IP_BOUND_IF, for sending only).
	Device string

	// Mark marks every packet sent (SO_MARK), for policy routing and firewalls. It
	// needs CAP_NET_ADMIN, or CAP_NET_RAW from Linux 5.17 on. Linux.
	Mark uint32

	// TrafficClass is the traffic class (TOS) of the IP header of datagrams sent: DSCP
	// in the upper six bits, ECN in the lower two. It applies to both families of a
	// socket. [Message.ECN] replaces the lower two bits only. Not on Plan 9, and not
	// on Windows, where policies decide.
	TrafficClass uint8

	// TTL is the TTL or hop limit of datagrams sent to single hosts, 1 to 255; 0 is the
	// system's default, which is usually 64. For groups, see SetMulticastTTL. Not on
	// Plan 9.
	TTL int

	// FreeBind allows binding to, and sending from, addresses that this host does not
	// have yet, such as floating addresses or those of a VPN (IP_FREEBIND). Linux. A
	// reply from an IPv6 address that only a route of type local gives to this host
	// does not need FreeBind, but is faster with it.
	FreeBind bool

	// Transparent is for transparent proxies: the socket receives datagrams that a
	// firewall redirects to it (TPROXY). [Datagram.To] returns their original
	// destination, and a reply leaves from that address, with the port of this socket.
	// It needs CAP_NET_ADMIN or CAP_NET_RAW. Linux.
	Transparent bool

	// ReplyByInterface makes [Datagram.Reply] send on the interface that the datagram
	// arrived on, regardless of routes. Replies to link-local peers and to broadcasts
	// always do so.
	ReplyByInterface bool

	// ControlMessages keeps the control messages of each received packet for
	// [Datagram.Control]. Use it for socket options that this package does not have;
	// set them with Control or [Conn.SyscallConn]. It costs an allocation for each
	// packet. Sending with [Message.Control] does not need it. Unix.
	ControlMessages bool

	// BusyPoll makes the socket's goroutine poll for a few microseconds before it
	// waits, as long as datagrams follow each other closely. With a sender on the same
	// host that sends one datagram per system call, the socket received 13 % more
	// datagrams a second. Polling stops while another thread needs the processor, but
	// it keeps an otherwise idle processor busy. Linux; elsewhere it does nothing.
	BusyPoll bool

	// WaitForNetwork is for programs that start before the network is configured.
	// Functions that open a socket then wait, until their context ends, for the
	// address to bind to, the interface of Device or of a zone, a route to the peer,
	// or a name server. Any other failure, such as a port in use, is an error at once.
	// [MulticastConn.Join] succeeds even if no interface can be joined yet, and joins
	// interfaces as they appear; [MulticastConn.Memberships] and OnMembership show
	// when.
	WaitForNetwork bool

	// Logger receives errors that did not stop the socket, at most one record per
	// second for each kind. Nil logs only panics of callbacks, to [slog.Default]. A
	// Logger with [slog.DiscardHandler] logs nothing.
	Logger *slog.Logger

	// OnSendError is called for each datagram whose send failed after [Conn.Enqueue]
	// or [Datagram.Reply] had returned. The error is a [*net.OpError]. It may be
	// called on any goroutine, and on several at the same time. It may send, but must
	// not wait for the socket to stop.
	OnSendError func(c *Conn, to netip.AddrPort, err error)

	// Trace has functions that are called for each datagram and each event of the
	// socket. It must not be changed while the socket exists. [JoinTraces] combines
	// several. Nil costs nothing.
	Trace *Trace

	// OnTransmit is called when the driver of the outgoing interface took a datagram,
	// with the time and the datagram's number. The socket's datagrams are numbered
	// from 0; those that the system drops later count too. It is not called for
	// datagrams that never reach a driver. It is called like the Handler's callbacks,
	// and never at the same time as one of them. With OnTransmit the socket makes no
	// segmented sends. Linux (SO_TIMESTAMPING, software). Not with the build tag
	// udpbasic, and not on a [PacketConn], whose callers can read the error queue
	// themselves.
	OnTransmit func(c *Conn, n uint32, at time.Time)

	// Control is called before bind, like Control of [net.ListenConfig]. A simulated
	// Network does not call it.
	Control func(network, address string, c syscall.RawConn) error

	// Resolver resolves host names; nil is [net.DefaultResolver]. A simulated Network
	// resolves names itself.
	Resolver *net.Resolver

	// OnMembership is called when the state of a multicast membership has changed: its
	// interface appeared, went down, was removed or replaced, or refused to join. It
	// is also called when the interface gets its first address that can be a source,
	// so that an announcement sent then succeeds. Changes while a callback runs are
	// combined into one call, with the latest state. OnMembership and the Handler's
	// callbacks never run at the same time.
	OnMembership func(m *MulticastConn, changed Membership)

	// InterfaceFilter selects the interfaces for calls that name none: those on which
	// a [MulticastConn] joins and sends, and those on which [Conn.SendBroadcast]
	// sends. It is also called for loopback. Nil selects every interface.
	// InterfaceFilter is called each time memberships are reconciled with the
	// interfaces, on any goroutine. It must be fast and must not call the Conn. A
	// panic is counted in Stats.Panics and means false.
	InterfaceFilter func(*net.Interface) bool

	// Network creates the sockets. Nil is the kernel's network; package udptest has
	// simulated ones.
	Network Network
}

// A Network creates sockets: of the kernel, or of a simulation by package udptest. It
// cannot be implemented elsewhere.
type Network interface{ socket.Network }

// source returns the network that creates the sockets.
func (cfg *Config) source() socket.Network {
	if cfg.Network != nil {
		return cfg.Network
	}
	return sys.Kernel{Resolver: cfg.Resolver}
}

// onKernel reports whether that is this host, and not a simulated network.
func (cfg *Config) onKernel() bool {
	source := cfg.source()
	if pulled, ok := source.(pulledNetwork); ok {
		source = pulled.Network
	}
	_, ok := source.(sys.Kernel)
	return ok
}
