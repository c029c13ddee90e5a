package sys

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"

	"github.com/udpkit/udp/internal/socket"
)

// Kernel is the Network of this host. Resolver resolves names; nil is
// net.DefaultResolver.
type Kernel struct{ Resolver *net.Resolver }

var _ socket.Network = Kernel{}

// LookupIP implements socket.Network.
func (k Kernel) LookupIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	r := k.Resolver
	if r == nil {
		r = net.DefaultResolver
	}
	return r.LookupNetIP(ctx, network, host)
}

// Interfaces implements socket.Network. It lists those of the thread's network namespace.
func (Kernel) Interfaces() ([]socket.Interface, error) {
	n, err := Here()
	if err != nil {
		return nil, err
	}
	defer n.Close()
	return n.Interfaces()
}

// Watch implements socket.Network.
func (Kernel) Watch(changed func()) (stop func(), err error) {
	n, err := Here()
	if err != nil {
		return nil, err
	}
	stop, err = n.Watch(changed)
	if err != nil {
		n.Close()
		return nil, err
	}
	return func() { stop(); n.Close() }, nil
}

// netInterfaces lists the interfaces as package net does.
func netInterfaces() ([]socket.Interface, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	all := make([]socket.Interface, 0, len(ifs))
	for _, ifi := range ifs {
		in := socket.Interface{Interface: ifi}
		// An interface that was removed meanwhile has no addresses, which is right.
		addrs, _ := ifi.Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok {
					ones, _ := n.Mask.Size()
					in.Addrs = append(in.Addrs, netip.PrefixFrom(ip.Unmap(), ones))
				}
			}
		}
		all = append(all, in)
	}
	return all, nil
}

func portString(p uint16) string { return strconv.Itoa(int(p)) }

// OpenGroup binds n sockets of a Network to one address. If one fails, it closes the others.
func OpenGroup(ctx context.Context, source socket.Network, n int, network string, local netip.AddrPort, o socket.Options) (socks []socket.Socket, err error) {
	release := func() {}
	defer func() { release() }()
	if kernel, ok := source.(Kernel); ok && o.ReusePort && local.Port() == 0 {
		port, free, err := kernel.freePort(ctx, network, local, o)
		if err == nil {
			local, release = netip.AddrPortFrom(local.Addr(), port), free
		} else if !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
	}
	for len(socks) < n {
		sock, err := source.Open(ctx, network, local, o)
		if err != nil {
			for _, s := range socks {
				s.Close()
			}
			return nil, err
		}
		socks = append(socks, sock)
		release() // before the second one, so that the order of the sockets stays
		release = func() {}
	}
	return socks, nil
}
