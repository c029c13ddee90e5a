package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/udpkit/udp/internal/resolve"
)

// Resolved is the result of [ResolveAsync].
type Resolved struct {
	Addrs []netip.AddrPort // as [Resolve] returns them; at least one, unless Err is set
	Err   error            // a [*net.OpError]
}

// Resolve is Config{}.Resolve.
func Resolve(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	return Config{}.Resolve(ctx, network, address)
}

// Resolve returns the addresses of "host:port" for the network "udp", "udp4" or
// "udp6", in the resolver's order. The host may be a name, an address with or without
// a zone, or empty for the unspecified address. The port may be a number or the name
// of a service. Resolve stops when ctx ends. Sending and receiving never call it.
//
// Errors are [*net.OpError]s. They wrap a [*net.DNSError] if the name cannot be
// resolved.
func (cfg Config) Resolve(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	addrs, err := cfg.resolve(ctx, "resolve", network, address)
	if err == nil && !addrs[0].Addr().IsValid() { // an empty host, of both families
		port := addrs[0].Port()
		addrs = []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), port), netip.AddrPortFrom(netip.IPv4Unspecified(), port)}
	}
	return addrs, err
}

// ResolveAsync is Config{}.ResolveAsync.
func ResolveAsync(ctx context.Context, network, address string) <-chan Resolved {
	return Config{}.ResolveAsync(ctx, network, address)
}

// ResolveAsync runs Resolve in a goroutine. The channel delivers one Resolved, even if
// ctx ends, and is closed. The program need not receive it.
func (cfg Config) ResolveAsync(ctx context.Context, network, address string) <-chan Resolved {
	ch := make(chan Resolved, 1)
	go func() {
		defer close(ch)
		addrs, err := cfg.Resolve(ctx, network, address)
		ch <- Resolved{addrs, err}
	}()
	return ch
}

func (cfg Config) resolve(ctx context.Context, op, network, address string) ([]netip.AddrPort, error) {
	addrs, err := resolve.Lookup(ctx, cfg.source(), cfg.Resolver, network, address)
	if err == nil {
		return addrs, nil
	}
	var of net.Addr
	if e, ok := errors.AsType[*net.AddrError](err); !ok || e.Addr != address {
		of = unresolved{network, address}
	}
	return nil, opError(op, network, of, err)
}

// unresolved is an address as it was given, for errors.
type unresolved struct{ network, address string }

// Network implements net.Addr.
func (u unresolved) Network() string { return u.network }

// String implements net.Addr.
func (u unresolved) String() string { return u.address }
