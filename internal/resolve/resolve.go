// Package resolve turns names into addresses.
package resolve

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
)

// Lookup returns the addresses of "host:port" that fit the network, in the order of the
// resolver. An empty host means the unspecified address, which is the zero Addr for both
// families. services resolves names of ports; nil is the default.
func Lookup(ctx context.Context, hosts socket.Network, services *net.Resolver, network, address string) ([]netip.AddrPort, error) {
	ipNetwork, fits, err := families(network)
	if err != nil {
		return nil, err
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := port(ctx, services, network, service)
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
			return nil, socket.ErrFamily
		}
		return []netip.AddrPort{netip.AddrPortFrom(ip, port)}, nil
	}
	if err := ctx.Err(); err != nil { // package net may return addresses all the same
		return nil, err
	}
	ips, err := hosts.LookupIP(ctx, ipNetwork, host)
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

// families reports which families a network has.
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

// port returns a port that is a number or the name of a service.
func port(ctx context.Context, r *net.Resolver, network, service string) (uint16, error) {
	if r == nil {
		r = net.DefaultResolver
	}
	n, err := r.LookupPort(ctx, network, service)
	if err != nil {
		return 0, err
	}
	return uint16(n), nil
}

// ctxError adds ctx's error to that of a resolver that gave up because of ctx. Package net
// turns a deadline into a DNSError that wraps nothing.
func ctxError(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return errors.Join(err, cause)
	}
	return err
}
