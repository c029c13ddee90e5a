package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/udpkit/udp/internal/resolve"
)

// Resolved is what [ResolveAsync] delivers.
type Resolved struct {
	Addrs []netip.AddrPort // what [Resolve] returns: at least one, unless Err is set
	Err   error            // a [*net.OpError]
}

// Resolve is Config{}.Resolve.
func Resolve(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	return Config{}.Resolve(ctx, network, address)
}

// Resolve returns every address that "host:port" stands for and that fits the network,
// "udp", "udp4" or "udp6", in the resolver's order. The host may be a name, an address,
// with its zone if it has one, or empty for the unspecified address; the port a number
// or the name of a service. It obeys ctx. Sending and receiving never call it.
//
// Errors are [*net.OpError]s, around a [*net.DNSError] when the name is the
// cause.
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

// ResolveAsync is Resolve in a goroutine of its own. The channel delivers one
// Resolved, also when ctx ends, and is closed. Nobody has to receive it.
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
