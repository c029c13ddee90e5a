package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
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
	addrs, err := cfg.lookup(ctx, network, address)
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

func (cfg Config) lookup(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	ipNetwork, fits, err := families(network)
	if err != nil {
		return nil, err
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := cfg.port(ctx, network, service)
	if err != nil {
		return nil, err
	}
	if host == "" {
		any := netip.Addr{} // both families
		switch network {
		case "udp4":
			any = netip.IPv4Unspecified()
		case "udp6":
			any = netip.IPv6Unspecified()
		}
		return []netip.AddrPort{netip.AddrPortFrom(any, port)}, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); !fits(ip) {
			return nil, ErrFamily
		}
		return []netip.AddrPort{netip.AddrPortFrom(ip, port)}, nil
	}
	if err := ctx.Err(); err != nil { // package net returns either this or what it finds
		return nil, err
	}
	ips, err := cfg.source().LookupIP(ctx, ipNetwork, host)
	if err != nil {
		return nil, ctxError(ctx, err)
	}
	var addrs []netip.AddrPort
	for _, ip := range ips {
		if ip = ip.Unmap(); fits(ip) {
			addrs = append(addrs, netip.AddrPortFrom(ip, port))
		}
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no suitable address", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

// families says what a network may have.
func families(network string) (ipNetwork string, fits func(netip.Addr) bool, err error) {
	switch network {
	case "udp":
		return "ip", netip.Addr.IsValid, nil
	case "udp4":
		return "ip4", netip.Addr.Is4, nil
	case "udp6":
		return "ip6", netip.Addr.Is6, nil
	}
	return "", nil, net.UnknownNetworkError(network)
}

// port is a number, or looked up in the system's list of services.
func (cfg Config) port(ctx context.Context, network, service string) (uint16, error) {
	r := cfg.Resolver
	if r == nil {
		r = net.DefaultResolver
	}
	n, err := r.LookupPort(ctx, network, service)
	if err != nil {
		return 0, err
	}
	return uint16(n), nil
}

// ctxError makes sure that a resolver that gave up because of ctx says so:
// package net turns a deadline into a DNSError that wraps nothing.
func ctxError(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return errors.Join(err, cause)
	}
	return err
}
