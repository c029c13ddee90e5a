package udp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"

	"github.com/udpkit/udp/internal/socket"
)

// MTUDiscovery selects how a socket handles the path MTU: the longest packet that
// every link on the path to a peer carries unfragmented (RFC 1191, RFC 8201).
//
// Anybody who knows addresses and ports can forge an ICMP error "packet too big".
// [MTUDiscoveryProbe] and [MTUDiscoveryOmit] ignore such errors.
type MTUDiscovery int

// Ways of path MTU discovery. Where a system lacks one, Listen and Dial fail with
// an error wrapping [errors.ErrUnsupported].
const (
	// MTUDiscoveryDefault leaves it to the system. Linux fragments datagrams that are
	// longer than the path MTU known to it, and does not let routers fragment others.
	MTUDiscoveryDefault MTUDiscovery = iota

	// MTUDiscoveryDo never fragments, neither here nor on routers. A datagram longer
	// than the path MTU known to this host fails with a [SizeError]. If a router finds
	// it too long, a [Refusal] reports the path MTU, and this host knows it from then
	// on. Linux, macOS, FreeBSD, Windows.
	MTUDiscoveryDo

	// MTUDiscoveryProbe does not let routers fragment, and ignores the path MTU known
	// to this host: datagrams may be as long as the interface's MTU. It is for
	// protocols that probe the path themselves (RFC 8899). Linux.
	MTUDiscoveryProbe

	// MTUDiscoveryOmit ignores the path MTU known to this host, and lets routers
	// fragment. It is for servers with long responses, such as DNS: a forged ICMP
	// error cannot make them fragment into smaller pieces. Linux.
	MTUDiscoveryOmit
)

const maxPayload = 65535

// check returns an error for invalid values and fills in defaults.
func (cfg *Config) check(h Handler) error {
	if err := checkHandler(h); err != nil {
		return err
	}
	local := cfg.LocalAddr
	switch {
	case cfg.ReadBuffer < 0, cfg.WriteBuffer < 0:
		return fmt.Errorf("ReadBuffer or WriteBuffer is negative: %w", os.ErrInvalid)
	case cfg.MaxDatagram < 0:
		return fmt.Errorf("MaxDatagram is negative: %w", os.ErrInvalid)
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

// options returns the options that the network applies to a socket.
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

// localFor returns the address that Dial binds to for a peer.
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

// Info describes what a socket can do: the features that its system has, and the
// buffer sizes that were granted.
type Info struct {
	ReadBuffer, WriteBuffer int // kernel buffers granted, bytes, without Linux's doubling
	// PacketInfo: Datagram.To and IfIndex are known, and replies leave from To. If it
	// is false and the socket is bound to one address, To is that address. In gVisor
	// PacketInfo is false although To is known, because the system chooses the address
	// that replies leave from.
	PacketInfo      bool
	ECN             bool     // Datagram.ECN is filled, Message.ECN is obeyed
	ErrorQueue      bool     // Refusals come with all their fields
	MulticastFilter bool     // the kernel filters out groups that only other sockets have joined
	Timestamps      bool     // Datagram.Time is filled
	GRO             bool     // several datagrams may come in one read (UDP_GRO)
	GSO             bool     // several datagrams may leave in one send (UDP_SEGMENT, UDP_SEND_MSG_SIZE)
	Segments        int      // datagrams in one such send at most
	Batch           int      // messages in one system call at most
	Steering        Steering // how a Group's datagrams are distributed to its sockets

	// PortKept: the port stays bound while the peer changes. If it is false, Reconnect
	// and Disconnect release the port for a moment. On Linux it is false for an
	// adopted socket whose port the system chose.
	PortKept bool
}

// Info returns the current state. It can change: the socket turns GSO off when a
// device does not support it.
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
