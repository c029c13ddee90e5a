package udp

import (
	"fmt"
	"net/netip"
	"os"

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

// checkOptions finds values that no system could take.
func (cfg *Config) checkOptions() error {
	local := cfg.LocalAddr
	switch {
	case cfg.TTL < 0 || cfg.TTL > 255:
		return fmt.Errorf("TTL %d is not between 0 and 255: %w", cfg.TTL, os.ErrInvalid)
	case cfg.MTUDiscovery < MTUDiscoveryDefault || cfg.MTUDiscovery > MTUDiscoveryOmit:
		return fmt.Errorf("unknown MTUDiscovery %d: %w", cfg.MTUDiscovery, os.ErrInvalid)
	case local.Port() != 0 && !local.Addr().IsValid():
		return fmt.Errorf("LocalAddr has a port and no address: %w", os.ErrInvalid)
	}
	return nil
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
