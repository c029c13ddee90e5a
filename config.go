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

// A Config has the options of sockets. The zero value is useful. A Config is copied by
// the methods that use it and never written to.
type Config struct {
	// ReadBuffer and WriteBuffer ask for the sizes of the kernel's buffers in bytes; 0
	// is the system's default. Systems limit them (net.core.rmem_max on Linux,
	// kern.ipc.maxsockbuf on the BSDs). With CAP_NET_ADMIN, Linux's limit does not
	// apply. [Info] has the sizes that were granted; less than asked for is no error.
	ReadBuffer, WriteBuffer int

	// MaxDatagram is the longest payload taken, in bytes; 0 is 65,535, which no
	// datagram exceeds. A longer one is dropped whole and counted in
	// [Drops.Truncated]: nothing is ever cut.
	MaxDatagram int

	// Broadcast allows sending to broadcast addresses. Without it such a send
	// fails with EACCES. (Package net leaves it allowed on every socket.)
	Broadcast bool

	// ReuseAddr and ReusePort set SO_REUSEADDR and SO_REUSEPORT before bind, so that
	// several sockets share a port. Each of them gets every multicast datagram. With
	// ReuseAddr, unicast goes to the socket bound last. With ReusePort, a hash of the
	// flow spreads unicast over all of them (Linux). On Windows, ReusePort means the
	// same as ReuseAddr.
	ReuseAddr, ReusePort bool

	// NoOffload keeps the kernel from coalescing the datagrams of one sender for a read
	// (UDP_GRO on Linux). It also keeps the socket from sending several datagrams as
	// segments of one send (UDP_SEGMENT). Both are many times faster than single
	// datagrams. But if the kernel has no room for a coalesced packet, it counts one
	// drop. With NoOffload, Stats.KernelDrops counts each datagram, whoever sends.
	// NoOffload also helps if the offload of a device is faulty.
	NoOffload bool

	// Timestamps fills [Datagram.Time] with the kernel's receive time. Linux; see
	// [Info.Timestamps].
	Timestamps bool

	// PeerErrors asks for [Handler.Refused] on unconnected sockets too, with the
	// ICMP error queue. Linux; elsewhere Listen fails with an error wrapping
	// [errors.ErrUnsupported].
	PeerErrors bool

	// MTUDiscovery decides what happens to datagrams that are longer than the path's
	// MTU, and whether ICMP errors about the MTU are trusted.
	MTUDiscovery MTUDiscovery

	// LocalAddr is the address and port that Dial binds to, so that firewalls or the
	// peer know the client by it. The zero value leaves both to the system. It must be
	// of the peer's family. With an unspecified address, only the port counts. Listen
	// ignores it.
	LocalAddr netip.AddrPort

	// Device binds the socket to one interface, by name: it sends and receives by no
	// other, whatever the routes say. Linux (SO_BINDTODEVICE; before 5.7 it needs
	// CAP_NET_RAW) and macOS (IP_BOUND_IF, for sending only).
	Device string

	// Mark is put on every packet sent (SO_MARK), for policy routing and firewalls. It
	// needs CAP_NET_ADMIN. Linux.
	Mark uint32

	// TrafficClass is the traffic class (TOS) of the IP header of datagrams sent: DSCP
	// in the upper six bits, ECN in the lower two. It holds for both families of a
	// socket. [Message.ECN] replaces the lower two bits only. Not on Plan 9, and not on
	// Windows, where policies decide.
	TrafficClass uint8

	// TTL is the TTL or hop limit of datagrams sent to single hosts, 1 to 255; 0 is the
	// system's default, which is usually 64. For groups, see SetMulticastTTL. Not on
	// Plan 9.
	TTL int

	// FreeBind allows binding to, and sending from, addresses that this host does not
	// have, or not yet: floating addresses, VPNs that come up later. Linux. Replies leave
	// from IPv6 addresses that are this host's by a route only without it, too, but faster
	// with it.
	FreeBind bool

	// Transparent is for transparent proxies: the socket receives datagrams that a
	// firewall redirects to it (TPROXY), [Datagram.To] returns the address and port
	// that the sender meant, and a reply leaves from that address (with the port of
	// this socket). It needs CAP_NET_ADMIN or CAP_NET_RAW. Linux.
	Transparent bool

	// ReplyByInterface makes [Datagram.Reply] send by the interface that the datagram
	// arrived on, past the routes. Replies to link-local peers and to broadcasts do so
	// in any case.
	ReplyByInterface bool

	// ControlMessages keeps the control messages that datagrams come with, for
	// [Datagram.Control]: a way to options that this package does not have, which the
	// program sets with Control or [Conn.SyscallConn]. It costs an allocation for each
	// packet. [Message.Control] is the other direction, and needs no option. Unix.
	ControlMessages bool

	// BusyPoll makes the socket's goroutine try to read for a few microseconds before
	// it waits, while datagrams follow each other closely. So it rarely has to be
	// woken. With a sender on the same host that sends one datagram per system call, it
	// received 13 % more datagrams a second. It pauses while somebody else needs the
	// processor, but it uses a processor that would otherwise be idle. Linux; elsewhere
	// it does nothing.
	BusyPoll bool

	// WaitForNetwork makes the functions that open sockets wait, until their context
	// ends, for what a host lacks before its network is configured: the address to bind
	// to, the interface of Device or of a zone, a route to the peer, a name server.
	// With it, [MulticastConn.Join] keeps a membership although no interface can be
	// joined yet, and joins interfaces as they appear. [MulticastConn.Memberships] and
	// OnMembership show when. Nothing else is waited for: a port in use is an error at
	// once.
	WaitForNetwork bool

	// Logger receives errors that did not stop the socket, at most one record per
	// second for each kind. Nil logs only panics of callbacks, to [slog.Default]. A
	// Logger with [slog.DiscardHandler] logs nothing.
	Logger *slog.Logger

	// OnSendError is called for each datagram whose send has failed after
	// [Conn.Enqueue] or [Datagram.Reply] returned. The error is a [*net.OpError]. It
	// may be called on any goroutine, and on several at the same time. It may send, but
	// must not wait for the socket to stop.
	OnSendError func(c *Conn, to netip.AddrPort, err error)

	// Trace has functions that are called for each datagram and each event of the socket.
	// It must not be changed while the socket exists. [JoinTraces] makes one of several. Nil
	// costs nothing.
	Trace *Trace

	// OnTransmit is called with the time at which the driver of the outgoing interface took
	// a datagram, and its number: the datagrams that the socket has sent, also those that
	// the system dropped later, are numbered from 0 on. It is called soon after the send, as
	// the Handler's callbacks are, one at a time with them, and not for datagrams that never
	// reach a driver. With it every datagram is sent by itself, without segments. Linux
	// (SO_TIMESTAMPING, software); not on the tag udpbasic, nor on a [PacketConn], whose
	// callers can read the error queue themselves.
	OnTransmit func(c *Conn, n uint32, at time.Time)

	// Control is called before bind, as [net.ListenConfig]'s is. It does not
	// apply to a simulated Network.
	Control func(network, address string, c syscall.RawConn) error

	// Resolver resolves host names; nil is [net.DefaultResolver]. It does not
	// apply to a simulated Network, which resolves names itself.
	Resolver *net.Resolver

	// OnMembership is called when the state of a multicast membership has changed: its
	// interface appeared, went down, was removed or replaced, or refused to join. It is
	// also called when the interface gets its first address that can be sent from, so
	// that an announcement succeeds. Changes while a callback runs are combined into
	// one call, with the newest state. OnMembership and the Handler's callbacks never
	// run at the same time.
	OnMembership func(m *MulticastConn, changed Membership)

	// InterfaceFilter selects interfaces where a call names none: those that a
	// [MulticastConn] joins and sends by, and those that [Conn.SendBroadcast] sends by.
	// It is asked about loopback, too. Nil selects every interface. InterfaceFilter is
	// called each time memberships are compared with the interfaces, from any
	// goroutine. It must be fast and must not call the Conn. A panic is counted in
	// Stats.Panics and means false.
	InterfaceFilter func(*net.Interface) bool

	// Network is where sockets come from. Nil is the kernel's network; package udptest
	// makes simulated ones.
	Network Network
}

// A Network is a source of sockets: the kernel's, or a simulated one made by
// package udptest. It can't be implemented elsewhere.
type Network interface{ socket.Network }

// source is where the sockets of this Config come from.
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
