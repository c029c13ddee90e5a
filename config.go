package udp

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Config says how sockets are made. The zero value serves. A Config is copied
// by the methods that use it and never written to.
type Config struct {
	// ReadBuffer and WriteBuffer ask for the sizes of the kernel's buffers in
	// bytes; 0 is the system's default. Systems limit them (net.core.rmem_max on
	// Linux, kern.ipc.maxsockbuf on the BSDs); with CAP_NET_ADMIN Linux's limit is
	// passed. [Info] tells what was granted; getting less is no error.
	ReadBuffer, WriteBuffer int

	// MaxDatagram is the longest payload taken, in bytes; 0 is 65,535, which no
	// datagram exceeds. A longer one is dropped whole and counted in
	// [Drops.Truncated]: nothing is ever cut.
	MaxDatagram int

	// Broadcast allows sending to broadcast addresses. Without it such a send
	// fails with EACCES. (Package net leaves it allowed on every socket.)
	Broadcast bool

	// ReuseAddr and ReusePort set SO_REUSEADDR and SO_REUSEPORT before bind, so
	// that several sockets share a port. Each of them gets every multicast
	// datagram. Unicast goes to the last one bound with ReuseAddr, and is spread
	// over all by the flow's hash with ReusePort (Linux). Windows has ReuseAddr
	// only, and ReusePort means it there.
	ReuseAddr, ReusePort bool

	// NoOffload keeps the kernel from joining datagrams into trains (UDP_GRO,
	// UDP_SEGMENT on Linux). Without it several of them may share one read or one
	// send, many times faster, but the kernel counts a train that it had no room
	// for as one drop: with it Stats.KernelDrops is exact to the datagram whoever
	// sends. It is also the way out should a device's offload be faulty.
	NoOffload bool

	// Timestamps fills [Datagram.Time] with the kernel's receive time. Linux; see
	// [Info.Timestamps].
	Timestamps bool

	// PeerErrors asks for [Handler.Refused] on unconnected sockets too, with the
	// ICMP error queue. Linux; elsewhere Listen fails with an error wrapping
	// [errors.ErrUnsupported].
	PeerErrors bool

	// DontFragment keeps routers and this host from cutting datagrams up on their
	// way: one that is longer than the path's MTU, as far as this host knows it,
	// fails to send with a [SizeError], and one that turns out to be is refused
	// (see [Refusal.MTU]) and lowers what is known. Linux, macOS, FreeBSD, Windows;
	// elsewhere Listen fails with an error wrapping [errors.ErrUnsupported].
	DontFragment bool

	// Logger receives errors that did not stop the socket, at most one record per
	// second for each kind. Nil logs panics of callbacks to [slog.Default] and nothing
	// else; a Logger with [slog.DiscardHandler] logs nothing.
	Logger *slog.Logger

	// OnSendError is called for each datagram whose send has failed after
	// [Conn.Enqueue] or [Datagram.Reply] returned. The error is a [*net.OpError]. It may
	// be called on any goroutine, by several at a time, and may send, but must not wait
	// for the socket to stop.
	OnSendError func(c *Conn, to netip.AddrPort, err error)

	// ReplyByInterface makes [Datagram.Reply] leave by the interface that the datagram
	// arrived on, whatever the routes say. Replies to link-local peers, and to
	// broadcasts, always do.
	ReplyByInterface bool

	// Control is called before bind, as [net.ListenConfig]'s is. It does not
	// apply to a simulated Network.
	Control func(network, address string, c syscall.RawConn) error

	// Resolver resolves host names; nil is [net.DefaultResolver]. It does not
	// apply to a simulated Network, which resolves names itself.
	Resolver *net.Resolver

	// OnMembership is called when the state of a multicast membership has changed:
	// its interface appeared, went down, was removed or replaced, has refused to join, or
	// has got its first address that can be sent from, so that an announcement succeeds.
	// Changes while a callback runs are combined into one call, with the newest state. It
	// is called as the Handler's callbacks are, one at a time with them.
	OnMembership func(m *MulticastConn, changed Membership)

	// InterfaceFilter selects the interfaces that a [MulticastConn] joins and sends by
	// when none is named, loopback included; nil selects every one. It is called each time
	// memberships are compared with the interfaces, from any goroutine. It must be fast and
	// must not call the Conn. A panic is counted in Stats.Panics and means false.
	InterfaceFilter func(*net.Interface) bool

	// Network is where sockets come from: nil is the kernel's, package udptest
	// makes simulated ones.
	Network Network
}

// A Network is a source of sockets: the kernel's, or a simulated one made by
// package udptest. It can't be implemented elsewhere.
type Network interface{ socket.Network }

const maxPayload = 65535

// check finds what can't work in c and fills in what is zero.
func (cfg *Config) check(h Handler) error {
	f, isFunc := h.(HandlerFunc)
	w, isWorkers := h.(*Workers)
	q, isQueue := h.(*Queue)
	switch {
	case h == nil, isFunc && f == nil, isWorkers && w == nil, isQueue && q == nil:
		return fmt.Errorf("nil Handler: %w", os.ErrInvalid)
	case cfg.ReadBuffer < 0, cfg.WriteBuffer < 0:
		return fmt.Errorf("negative buffer size: %w", os.ErrInvalid)
	case cfg.MaxDatagram < 0:
		return fmt.Errorf("negative MaxDatagram: %w", os.ErrInvalid)
	}
	if cfg.MaxDatagram == 0 || cfg.MaxDatagram > maxPayload {
		cfg.MaxDatagram = maxPayload
	}
	switch {
	case isWorkers && w.handlers == nil:
		return fmt.Errorf("workers must be created by NewWorkers: %w", os.ErrInvalid)
	case isQueue && q.done == nil:
		return fmt.Errorf("queue must be created by NewQueue: %w", os.ErrInvalid)
	case isQueue && q.finished():
		return fmt.Errorf("the last socket of the queue has stopped: %w", net.ErrClosed)
	}
	return nil
}

// source is where the sockets of this Config come from.
func (cfg *Config) source() socket.Network {
	if cfg.Network != nil {
		return cfg.Network
	}
	return sys.Kernel{Resolver: cfg.Resolver}
}

func (cfg *Config) options() socket.Options {
	return socket.Options{
		ReadBuffer: cfg.ReadBuffer, WriteBuffer: cfg.WriteBuffer,
		Broadcast: cfg.Broadcast, ReuseAddr: cfg.ReuseAddr, ReusePort: cfg.ReusePort,
		Timestamps: cfg.Timestamps, PeerErrors: cfg.PeerErrors, DontFragment: cfg.DontFragment,
		NoOffload: cfg.NoOffload, Control: cfg.Control,
	}
}
