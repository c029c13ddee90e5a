package udp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/udpkit/udp/internal/mcast"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A MulticastConn is a [Conn] that can join multicast groups (RFC 1112, RFC 3376, RFC 3810).
// It receives unicast datagrams, and datagrams to its groups on the interfaces where it has
// joined them. It does not receive groups that only other sockets of the host have joined.
//
// [Config.ListenMulticast] and [Conn.Multicast] return one. The multicast methods of any
// other MulticastConn, and all methods of the zero value, return an error wrapping
// [os.ErrInvalid].
type MulticastConn struct {
	*Conn
	memberships *mcast.Manager
}

// A Membership is a group that a [MulticastConn] has joined, and its state on each interface.
type Membership struct {
	Group   netip.Addr            // without a zone
	Source  netip.Addr            // valid if joined with JoinSource
	All     bool                  // joined on all interfaces, except for those passed to Leave
	Blocked []netip.Addr          // see [MulticastConn.BlockSource]
	On      []InterfaceMembership // including interfaces that are missing or failed to join
}

// Held reports whether the group is joined on any interface.
func (m Membership) Held() bool {
	return slices.ContainsFunc(m.On, func(i InterfaceMembership) bool { return i.Err == nil })
}

// An InterfaceMembership is the state of a [Membership] on one interface.
type InterfaceMembership struct {
	Name  string // current name, or the last one of an interface that was removed
	Index int    // 0 while there is no interface of that name
	// Err is nil if the group is joined. Otherwise it wraps ENODEV while a named interface is
	// missing, ENETDOWN while it is down or its MTU is too small for the protocol, or the
	// system's error.
	Err error
}

// ListenMulticast is Config{}.ListenMulticast.
func ListenMulticast(ctx context.Context, network, address string, h Handler, groups ...netip.Addr) (*MulticastConn, error) {
	return Config{}.ListenMulticast(ctx, network, address, h, groups...)
}

// ListenMulticast binds a socket like [Config.Listen], joins the groups on all interfaces
// like [MulticastConn.Join], and starts the goroutine that calls h.
//
// With network "udp" and no host in the address, the groups determine the family. For groups
// of both families, or no groups, the socket is dual-stack if the system can join IPv4 groups
// on such a socket (Linux).
//
// If the host is a group, the socket receives only that group and no unicast, and cannot join
// another group. On Unix the socket is bound to the group, so other sockets can use the port
// for unicast. For IPv6 groups of link scope it is bound to the wildcard address and filters,
// because the system would bind it to a single interface.
//
// On Linux the socket joins and watches the interfaces of the calling thread's network
// namespace.
//
// With Config.ReuseAddr, the socket can share the port with other sockets, including those of
// other programs. Each receives every datagram to the groups that it has joined.
func (cfg Config) ListenMulticast(ctx context.Context, network, address string, h Handler, groups ...netip.Addr) (*MulticastConn, error) {
	network, only, groups := mcast.Fit(network, address, groups)
	c, err := cfg.open(ctx, network, address, h)
	if err != nil {
		return nil, err
	}
	if c.groups.Manager, err = mcast.New(cfg.source(), c.multicastConfig(only)); err != nil {
		c.sock.Close()
		return nil, opError("listen", network, c.LocalAddr(), err)
	}
	c.groups.check = true
	m := &MulticastConn{c, c.groups.Manager}
	for _, group := range groups {
		if err := m.Join(group); err != nil {
			c.groups.Stop()
			c.sock.Close()
			return nil, err
		}
	}
	c.start()
	return m, nil
}

func (c *Conn) multicastConfig(only netip.Addr) mcast.Config {
	mc := mcast.Config{Socket: c.sock, Only: only, Patient: c.cfg.WaitForNetwork}
	if c.cfg.InterfaceFilter != nil {
		mc.Filter = func(ifi *net.Interface) bool { return c.admits(*ifi) }
	}
	if t := c.cfg.Trace; c.cfg.OnMembership != nil || t != nil && t.Membership != nil {
		mc.Changed = func() { c.post(c.membershipsChanged) }
	}
	return mc
}

// membershipsChanged runs on the socket's goroutine.
func (c *Conn) membershipsChanged() {
	for s := range c.groups.Changes() {
		if c.closed() {
			return
		}
		c.traceMembership(membershipOf(s))
		if c.cfg.OnMembership != nil {
			c.guard.Call("OnMembership", func() { c.cfg.OnMembership(&MulticastConn{c, c.groups.Manager}, membershipOf(s)) })
		}
	}
}

func membershipOf(s mcast.Membership) Membership {
	m := Membership{Group: s.Group, Source: s.Source, All: s.All, Blocked: s.Blocked, On: make([]InterfaceMembership, len(s.On))}
	for i, on := range s.On {
		m.On[i] = InterfaceMembership(on)
	}
	return m
}

// Multicast returns the socket as a [MulticastConn] if ListenMulticast or Adopt made it. It
// is for Handlers, which get a [*Conn].
func (c *Conn) Multicast() (*MulticastConn, bool) {
	if !c.ok() || c.groups.Manager == nil {
		return nil, false
	}
	return &MulticastConn{c, c.groups.Manager}, true
}

// Join joins a group on the named interfaces. If none is named, it joins on every interface
// that is up, can multicast and has an address of the family, or on loopback if there is no
// such interface. Interfaces that appear later, or are recreated, are joined then. The zone
// of an IPv6 group names an interface, too.
//
// Join succeeds if the group is joined on at least one interface; [MulticastConn.Memberships]
// shows on which. With [Config.WaitForNetwork] it also succeeds if there is no suitable
// interface yet. Calling Join again adds interfaces. Named interfaces are joined even if a
// Join without names would skip them.
//
// If the name and the index of an element of ifs no longer belong to the same interface, Join
// uses the name.
//
// Errors: EINVAL if group is not a multicast group, or if the socket is bound to another
// group; [ErrFamily]; and if no interface is joined, the errors of all of them.
func (m *MulticastConn) Join(group netip.Addr, ifs ...*net.Interface) error {
	return m.change("join", group, func(g *mcast.Manager) error { return g.Join(group, netip.Addr{}, ifs) })
}

// JoinSource joins a group for datagrams of one source only (source-specific multicast, RFC
// 4607); otherwise it is like [MulticastConn.Join]. It can be called for several sources, and
// in addition to Join. Each of these memberships is left separately. On Windows, AIX, and the
// BSDs other than FreeBSD the error wraps [errors.ErrUnsupported].
func (m *MulticastConn) JoinSource(group, source netip.Addr, ifs ...*net.Interface) error {
	return m.changeSource("join", group, source, func(g *mcast.Manager) error { return g.Join(group, source, ifs) })
}

// Leave undoes Join on the named interfaces, or on all if none is named, whether they are
// joined at the moment or not.
//
// After a Join on all interfaces, Leave excludes the named interfaces. An excluded interface
// stays excluded when it is renamed. When it was removed, a new interface of its name is
// excluded. All other interfaces stay joined, and new ones are joined. Without an earlier
// Join the error is EADDRNOTAVAIL.
func (m *MulticastConn) Leave(group netip.Addr, ifs ...*net.Interface) error {
	return m.change("leave", group, func(g *mcast.Manager) error { return g.Leave(group, netip.Addr{}, ifs) })
}

// LeaveSource undoes JoinSource, as [MulticastConn.Leave] undoes Join.
func (m *MulticastConn) LeaveSource(group, source netip.Addr, ifs ...*net.Interface) error {
	return m.changeSource("leave", group, source, func(g *mcast.Manager) error { return g.Leave(group, source, ifs) })
}

// BlockSource drops the datagrams of one source to a group that was joined with Join, on all
// its interfaces, until UnblockSource or Leave. Blocking a source again does nothing. A
// source joined with JoinSource is still received.
//
// The kernel blocks the source too, and reports that to routers and switches (IGMPv3 and
// MLDv2, EXCLUDE mode). It does so for a limited number of sources, by default 10 of a group
// on Linux (net.ipv4.igmp_max_msf). Datagrams of the others are dropped here and counted in
// [Drops].Stranger.
//
// Errors: EADDRNOTAVAIL if the group was not joined with Join. If [Info].PacketInfo is false,
// only the kernel can block, and BlockSource returns its error. On Windows, which cannot
// block sources, that wraps [errors.ErrUnsupported].
func (m *MulticastConn) BlockSource(group, source netip.Addr) error {
	return m.changeSource("block", group, source, func(g *mcast.Manager) error { return g.Block(group, source, true) })
}

// UnblockSource undoes BlockSource. If the source is not blocked the error is EADDRNOTAVAIL.
func (m *MulticastConn) UnblockSource(group, source netip.Addr) error {
	return m.changeSource("unblock", group, source, func(g *mcast.Manager) error { return g.Block(group, source, false) })
}

func (m *MulticastConn) changeSource(op string, group, source netip.Addr, f func(*mcast.Manager) error) error {
	return m.change(op, group, func(g *mcast.Manager) error {
		switch a := source.Unmap(); {
		case !a.IsValid():
			return &net.AddrError{Err: "missing source address"}
		case a.IsMulticast(), a.IsUnspecified():
			return fmt.Errorf("%v cannot be a source: %w", source, sys.EINVAL)
		case a.Is4() != group.Unmap().Is4():
			return ErrFamily
		}
		return f(g)
	})
}

func (m *MulticastConn) change(op string, group netip.Addr, f func(*mcast.Manager) error) error {
	if err := m.ready(op); err != nil {
		return err
	}
	var err error
	switch a := group.Unmap(); {
	case !a.IsMulticast():
		err = fmt.Errorf("%v is not a multicast group: %w", group, sys.EINVAL)
	case !m.out.Family.Has(a):
		err = ErrFamily
	default:
		if err = f(m.memberships); err == nil {
			m.traceGroup(group)
		}
	}
	return m.opError(op, netip.AddrPortFrom(group, m.LocalAddrPort().Port()), err)
}

// errNotMulticast is the error of a MulticastConn that a user has built.
var errNotMulticast = fmt.Errorf("MulticastConn must be created by ListenMulticast: %w", os.ErrInvalid)

func (m *MulticastConn) ready(op string) error {
	switch {
	case !m.ok(), m.memberships == nil, m.groups.Manager != m.memberships:
		return opError(op, "udp", nil, errNotMulticast)
	case m.closed():
		return m.opError(op, netip.AddrPort{}, net.ErrClosed)
	}
	return nil
}

// Memberships returns the groups that were joined and not left, in the order of joining.
func (m *MulticastConn) Memberships() []Membership {
	if m.memberships == nil {
		return nil
	}
	states := m.memberships.Memberships()
	all := make([]Membership, len(states))
	for i, s := range states {
		all[i] = membershipOf(s)
	}
	return all
}

// SetMulticastInterface sets the outgoing interface of datagrams to groups; nil leaves the
// choice to the routing table. When the interface was removed, sending to groups fails with
// ENODEV until there is an interface of that name again. For an IPv6 group of link scope, its
// zone names the interface. See also [MulticastConn.SendGroup].
func (m *MulticastConn) SetMulticastInterface(ifi *net.Interface) error {
	return m.set(func() error { return m.memberships.SetInterface(ifi) })
}

// MulticastInterface returns the interface chosen with SetMulticastInterface, nil for the
// system's choice. While the interface is removed the error wraps ENODEV.
func (m *MulticastConn) MulticastInterface() (*net.Interface, error) {
	if err := m.ready("get"); err != nil {
		return nil, err
	}
	ifi, err := m.memberships.Interface()
	return ifi, m.opError("get", netip.AddrPort{}, err)
}

// SetMulticastTTL sets the time to live (IPv4) and hop limit (IPv6) of datagrams to
// groups: 0 keeps them on this host, and 1, the default, on the local network. The
// maximum is 255.
func (m *MulticastConn) SetMulticastTTL(n int) error {
	return m.setOption(socket.MulticastTTL, n)
}

// MulticastTTL returns the time to live of datagrams to groups.
func (m *MulticastConn) MulticastTTL() (int, error) { return m.option(socket.MulticastTTL) }

// SetMulticastLoopback sets whether sockets of this host, including this one, receive the
// datagrams that this socket sends to their groups. By default they do. On Windows the
// receiver's setting applies instead of the sender's. Linux ignores it on the loopback
// interface.
func (m *MulticastConn) SetMulticastLoopback(on bool) error {
	n := 0
	if on {
		n = 1
	}
	return m.setOption(socket.MulticastLoopback, n)
}

// MulticastLoopback returns what SetMulticastLoopback has set.
func (m *MulticastConn) MulticastLoopback() (bool, error) {
	n, err := m.option(socket.MulticastLoopback)
	return n != 0, err
}

func (m *MulticastConn) setOption(o socket.MulticastOption, value int) error {
	return m.set(func() error { return m.memberships.SetOption(o, value) })
}

// set changes an option. It flushes the outbox first, so that it applies only to later
// datagrams.
func (m *MulticastConn) set(f func() error) error {
	if err := m.ready("set"); err != nil {
		return err
	}
	m.out.Flush()
	return m.opError("set", netip.AddrPort{}, f())
}

func (m *MulticastConn) option(o socket.MulticastOption) (int, error) {
	if err := m.ready("get"); err != nil {
		return 0, err
	}
	n, err := m.memberships.Option(o)
	return n, m.opError("get", netip.AddrPort{}, err)
}
