package udp

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"

	"github.com/udpkit/udp/internal/socket"
)

// MTUDiscovery is a way to deal with the MTU of the path to a peer: the longest
// packet that passes all its links whole (RFC 1191, RFC 8201).
//
// An ICMP error that says "too big" can be forged by whoever knows addresses and
// ports. [MTUDiscoveryProbe] and [MTUDiscoveryOmit] do not believe it.
type MTUDiscovery int

// Ways of path MTU discovery. Where a system lacks one, Listen and Dial fail with
// an error wrapping [errors.ErrUnsupported].
const (
	// MTUDiscoveryDefault leaves it to the system. Linux fragments what is longer than
	// the path's MTU, as far as it knows that. It does not let routers fragment the
	// rest.
	MTUDiscoveryDefault MTUDiscovery = iota

	// MTUDiscoveryDo sends no fragments and lets no router make any. A datagram that is
	// longer than the path's MTU, as far as this host knows it, fails with a
	// [SizeError]. If it turns out to be longer only on the way, there is a [Refusal]
	// with the MTU, which this host then knows. Linux, macOS, FreeBSD, Windows.
	MTUDiscoveryDo

	// MTUDiscoveryProbe lets no router make fragments either, but ignores what this
	// host knows of the path. Datagrams may be as long as the interface's MTU allows.
	// It is for protocols that find the path's MTU themselves (RFC 8899). Linux.
	MTUDiscoveryProbe

	// MTUDiscoveryOmit also ignores what this host knows of the path, and lets routers
	// make fragments. It is for servers whose long responses must always pass, and must
	// not become shorter because of forged ICMP errors. Linux.
	MTUDiscoveryOmit
)

const maxPayload = 65535

// check finds what can't work in cfg and fills in what is zero.
func (cfg *Config) check(h Handler) error {
	w, isWorkers := h.(*Workers)
	q, isQueue := h.(*Queue)
	local := cfg.LocalAddr
	switch {
	case isNil(h):
		return fmt.Errorf("nil Handler: %w", os.ErrInvalid)
	case isWorkers && w.handlers == nil:
		return fmt.Errorf("workers must be created by NewWorkers: %w", os.ErrInvalid)
	case isQueue && q.done == nil:
		return errZeroQueue
	case isQueue && q.finished():
		return fmt.Errorf("the last socket of the queue has stopped: %w", net.ErrClosed)
	case cfg.ReadBuffer < 0, cfg.WriteBuffer < 0:
		return fmt.Errorf("negative buffer size: %w", os.ErrInvalid)
	case cfg.MaxDatagram < 0:
		return fmt.Errorf("negative MaxDatagram: %w", os.ErrInvalid)
	case cfg.TTL < 0 || cfg.TTL > 255:
		return fmt.Errorf("TTL %d is not between 0 and 255: %w", cfg.TTL, os.ErrInvalid)
	case cfg.MTUDiscovery < MTUDiscoveryDefault || cfg.MTUDiscovery > MTUDiscoveryOmit:
		return fmt.Errorf("unknown MTUDiscovery %d: %w", cfg.MTUDiscovery, os.ErrInvalid)
	case local.Port() != 0 && !local.Addr().IsValid():
		return fmt.Errorf("LocalAddr has a port and no address: %w", os.ErrInvalid)
	}
	if cfg.MaxDatagram == 0 || cfg.MaxDatagram > maxPayload {
		cfg.MaxDatagram = maxPayload
	}
	return nil
}

// isNil reports whether h is nil, or a nil pointer or function.
func isNil(h Handler) bool {
	if h == nil {
		return true
	}
	v := reflect.ValueOf(h)
	return (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil()
}

// options are what the network has to know of cfg.
func (cfg *Config) options() socket.Options {
	return socket.Options{
		ReadBuffer: cfg.ReadBuffer, WriteBuffer: cfg.WriteBuffer,
		Broadcast: cfg.Broadcast, ReuseAddr: cfg.ReuseAddr, ReusePort: cfg.ReusePort,
		Timestamps: cfg.Timestamps, PeerErrors: cfg.PeerErrors, NoOffload: cfg.NoOffload,
		Device: cfg.Device, Mark: cfg.Mark, TrafficClass: cfg.TrafficClass, TTL: uint8(cfg.TTL),
		FreeBind: cfg.FreeBind, Transparent: cfg.Transparent,
		MTUDiscovery: socket.MTUDiscovery(cfg.MTUDiscovery), BusyPoll: cfg.BusyPoll,
		TransmitTimestamps: cfg.OnTransmit != nil, ControlMessages: cfg.ControlMessages,
		Control: cfg.Control,
	}
}

// localFor is where Dial binds for a peer.
func (cfg *Config) localFor(peer netip.Addr) (netip.AddrPort, error) {
	any := netip.IPv6Unspecified()
	if peer.Is4() {
		any = netip.IPv4Unspecified()
	}
	local := netip.AddrPortFrom(cfg.LocalAddr.Addr().Unmap(), cfg.LocalAddr.Port())
	switch a := local.Addr(); {
	case !a.IsValid(), a.IsUnspecified():
		return netip.AddrPortFrom(any, local.Port()), nil
	case a.Is4() != peer.Is4():
		return local, ErrFamily
	}
	return local, nil
}

// Info is what a socket was granted and what its system can do for it.
type Info struct {
	ReadBuffer, WriteBuffer int // kernel buffers granted, bytes, as asked for (Linux reports double)
	// PacketInfo: Datagram.To and IfIndex are known, and replies leave from To. If it
	// is false and the socket is bound to one address, To is that one. In gVisor it is
	// false although To is known: replies leave from an address that the system chooses.
	PacketInfo      bool
	ECN             bool     // Datagram.ECN is filled, Message.ECN is obeyed
	ErrorQueue      bool     // Refusals come with all their fields
	MulticastFilter bool     // the kernel keeps groups away that others have joined
	Timestamps      bool     // Datagram.Time is filled
	GRO             bool     // several datagrams may come in one read (UDP_GRO)
	GSO             bool     // several datagrams may leave in one send (UDP_SEGMENT, UDP_SEND_MSG_SIZE)
	Segments        int      // how many at the most, with GSO
	Batch           int      // messages a system call reads or sends at the most
	Steering        Steering // how the port's datagrams find their socket, in a Group

	// PortKept: the port stays bound while the peer changes. Without it, Reconnect and
	// Disconnect release the port for a moment. On Linux that is so for an adopted
	// socket whose port the system has chosen.
	PortKept bool
}

// Info returns what holds now. That can change: GSO is given up when a device cannot do
// it.
func (c *Conn) Info() Info {
	if !c.ok() {
		return Info{}
	}
	i := c.sock.Info()
	l := c.sock.Limits()
	return Info{
		ReadBuffer: l.ReadBuffer, WriteBuffer: l.WriteBuffer, PacketInfo: i.PacketInfo, ECN: i.ECN,
		ErrorQueue: i.ErrorQueue, MulticastFilter: i.MulticastFilter, Timestamps: i.Timestamps,
		GRO: i.GRO, GSO: i.Segments > 1, Segments: i.Segments, Batch: l.Batch,
		PortKept: i.PortKept, Steering: c.group.Steering(),
	}
}

// attrs lists what there is.
func (i Info) attrs() (attrs []slog.Attr) {
	number := func(name string, n int) {
		if n != 0 {
			attrs = append(attrs, slog.Int(name, n))
		}
	}
	flag := func(name string, on bool) {
		if on {
			attrs = append(attrs, slog.Bool(name, true))
		}
	}
	number("read_buffer", i.ReadBuffer)
	number("write_buffer", i.WriteBuffer)
	flag("packet_info", i.PacketInfo)
	flag("ecn", i.ECN)
	flag("error_queue", i.ErrorQueue)
	flag("multicast_filter", i.MulticastFilter)
	flag("timestamps", i.Timestamps)
	flag("gro", i.GRO)
	flag("gso", i.GSO)
	number("segments", i.Segments)
	number("batch", i.Batch)
	if i.Steering != SteeringNone {
		attrs = append(attrs, slog.String("steering", i.Steering.String()))
	}
	flag("port_kept", i.PortKept)
	return attrs
}

// String lists what there is, for people.
func (i Info) String() string {
	var words []string
	for _, a := range i.attrs() {
		if a.Value.Kind() == slog.KindBool {
			words = append(words, a.Key)
		} else {
			words = append(words, fmt.Sprint(a.Key, "=", a.Value))
		}
	}
	return strings.Join(words, " ")
}

// LogValue implements [slog.LogValuer].
func (i Info) LogValue() slog.Value { return slog.GroupValue(i.attrs()...) }
