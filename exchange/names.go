package exchange

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	maxNames = 4096 // kept at most

	// The shortest time between two lookups of a name, however many requests fail.
	resolveInterval = time.Second
	// How long a request waits for new addresses when there are old ones.
	resolvePatience = 2 * time.Second
)

// names has the addresses of servers that were given by name.
type names struct {
	resolve func(ctx context.Context, server string) ([]netip.AddrPort, error)
	mu      sync.Mutex
	all     map[string]*name
}

type name struct {
	addrs    []netip.AddrPort
	use      netip.AddrPort // one of addrs
	failed   netip.AddrPort // what the last failure was about, until there are new addresses
	resolved time.Time      // when addrs were asked for
	lookup   *lookup        // running, or nil
}

// lookup is a resolution that several requests may wait for.
type lookup struct {
	done chan struct{}
	err  error
}

// address returns where to send a request for a server.
func (n *names) address(ctx, closing context.Context, server string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(server); err == nil {
		return usable(a)
	}
	n.mu.Lock()
	s := n.all[server]
	if s == nil {
		for other := range n.all {
			if len(n.all) < maxNames {
				break
			}
			delete(n.all, other)
		}
		s = new(name)
		n.all[server] = s
	}
	stale := s.failed.IsValid() && time.Since(s.resolved) >= resolveInterval
	if s.use.IsValid() && !stale {
		defer n.mu.Unlock()
		return s.use, nil
	}
	if s.lookup == nil {
		s.lookup = &lookup{done: make(chan struct{})}
		s.resolved = time.Now()
		go n.look(closing, server, s, s.lookup)
	}
	l, old := s.lookup, s.use
	n.mu.Unlock()

	var enough <-chan time.Time
	if old.IsValid() {
		enough = time.After(resolvePatience)
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		return netip.AddrPort{}, ended(ctx)
	case <-enough:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.use.IsValid() {
		return s.use, nil
	}
	return netip.AddrPort{}, l.err
}

// look resolves a name, until the client is closed.
func (n *names) look(closing context.Context, server string, s *name, l *lookup) {
	addrs, err := n.resolve(closing, server)
	for i := 0; err == nil && i < len(addrs); i++ {
		addrs[i], err = usable(addrs[i])
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.err = err; err == nil {
		s.addrs = addrs
		s.use = s.other()
		s.failed = netip.AddrPort{}
	}
	s.lookup = nil
	close(l.done)
}

// failed notes that a request to a server failed.
func (n *names) failed(server string, peer netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.all[server]; s != nil && s.use == peer {
		s.failed = peer
		s.use = s.other()
	}
}

// other returns the address after the one that failed last, or that one if there is no other.
func (s *name) other() netip.AddrPort {
	i := slices.Index(s.addrs, s.failed)
	return s.addrs[(i+1)%len(s.addrs)]
}

// usable brings an address into the form that datagrams have, and rejects what cannot respond.
func usable(a netip.AddrPort) (netip.AddrPort, error) {
	ip := a.Addr().Unmap()
	switch {
	case ip.IsUnspecified() && ip.Is4(): // this host, as in package net
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip.IsUnspecified():
		ip = netip.IPv6Loopback()
	case ip.IsMulticast():
		return a, &net.AddrError{Err: "a server cannot have a multicast address", Addr: a.String()}
	}
	if a.Port() == 0 {
		return a, &net.AddrError{Err: "missing port", Addr: a.String()}
	}
	return netip.AddrPortFrom(ip, a.Port()), nil
}

func (c *Client[K]) resolve(ctx context.Context, server string) ([]netip.AddrPort, error) {
	c.stats.resolved.Add(1)
	addrs, err := c.cfg.Socket.Resolve(ctx, c.cfg.Network, server)
	if err != nil {
		c.stats.resolveErrors.Add(1)
	}
	return addrs, err
}

// unresolved is a server as it was given, for errors.
type unresolved struct{ network, server string }

// Network implements net.Addr.
func (u unresolved) Network() string { return u.network }

// String implements net.Addr.
func (u unresolved) String() string { return u.server }
