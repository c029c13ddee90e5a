package udp

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// MulticastConn is a [Conn] that can join multicast groups (RFC 1112, RFC 3376,
// RFC 3810). Only what is sent to a joined group on an interface where it is
// joined arrives, whatever others on this host have joined, beside unicast.
type MulticastConn struct{ *Conn }

// ListenMulticast binds a socket, joins the groups on every interface, and
// starts the socket's goroutine. It is Config{}.ListenMulticast.
func ListenMulticast(ctx context.Context, network, address string, h Handler, groups ...netip.Addr) (*MulticastConn, error) {
	return Config{}.ListenMulticast(ctx, network, address, h, groups...)
}

// ListenMulticast binds a socket as [Config.Listen] does, joins the groups as
// [MulticastConn.Join] does without interfaces, and starts the socket's
// goroutine, which feeds h.
//
// With network "udp", and no host in the address, the groups choose the family;
// groups of both, or none, make a socket of both families, where the system can
// join IPv4 groups on it (Linux).
//
// When the host is a group, that one is joined, no other can be, and nothing
// else arrives, no unicast either. On Unix the socket is bound to the group, so
// that unicast to the port is free for others; but not to an IPv6 group of link
// scope, to which a socket could be bound on one interface only.
//
// On Linux the sockets watch and join the interfaces of the network namespace
// that the calling thread is in.
//
// Several sockets, also of other programs, can share the port with
// Config.ReuseAddr; each then gets every datagram of its groups.
func (cfg Config) ListenMulticast(ctx context.Context, network, address string, h Handler, groups ...netip.Addr) (*MulticastConn, error) {
	network, only, groups := fitGroups(network, address, groups)
	r, err := newRegistry(cfg.source())
	if err != nil {
		return nil, opError("listen", network, nil, err)
	}
	c, err := cfg.open(ctx, network, address, h)
	if err != nil {
		r.stop()
		return nil, err
	}
	r.conn, r.only = c, only
	c.groups, c.checkGroups = r, true
	m := &c.multicast
	for _, group := range groups {
		if err := m.Join(group); err != nil {
			r.stop()
			c.sock.Close()
			return nil, err
		}
	}
	c.start()
	return m, nil
}

// fitGroups chooses the family of network "udp" after the groups, and makes a
// group in the address, only, one of the groups.
func fitGroups(network, address string, groups []netip.Addr) (fit string, only netip.Addr, all []netip.Addr) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return network, only, groups // open will say it
	}
	if a, err := netip.ParseAddr(host); err == nil && a.IsMulticast() {
		groups = append([]netip.Addr{a}, groups...)
		only, host = a.Unmap().WithZone(""), ""
	}
	if network != "udp" || host != "" || len(groups) == 0 {
		return network, only, groups
	}
	v4 := 0
	for _, g := range groups {
		if g.Unmap().Is4() {
			v4++
		}
	}
	switch v4 {
	case len(groups):
		network = "udp4"
	case 0:
		network = "udp6"
	}
	return network, only, groups
}

// Multicast returns the socket as a [MulticastConn], if ListenMulticast has
// made it. It is for Handlers, which get a [*Conn].
func (c *Conn) Multicast() (*MulticastConn, bool) {
	if c.groups == nil {
		return nil, false
	}
	return &c.multicast, true
}

// Join joins a group on the named interfaces, or, without any, on every one
// that is up and can multicast (on loopback only if there is no other). It is
// enough that one of them accepts: [MulticastConn.Memberships] tells which did.
// Joining again adds interfaces: named ones stand beside all, and are joined though
// "all" may pass them over. An IPv6 group may name its interface as its zone.
//
// A *net.Interface whose index is another's by now means the one of its name, if there
// is one.
//
// Errors: EINVAL for what is no group, or another one than the socket is bound to,
// [ErrFamily], and, when no interface
// accepted, all their errors joined.
func (m *MulticastConn) Join(group netip.Addr, ifs ...*net.Interface) error {
	return m.opErrorGroup("join", group, m.join(group, netip.Addr{}, ifs))
}

// JoinSource joins a group for datagrams of one source only (source-specific
// multicast, RFC 4607). It can be called for several sources, and beside Join,
// which is for all of them; each is left by itself. It fails with
// [errors.ErrUnsupported] where the system can't do it: Windows, AIX and the BSDs other than FreeBSD.
// Otherwise it is as [MulticastConn.Join].
func (m *MulticastConn) JoinSource(group, source netip.Addr, ifs ...*net.Interface) error {
	if !source.IsValid() {
		return m.opErrorGroup("join", group, &net.AddrError{Err: "missing source address"})
	}
	return m.opErrorGroup("join", group, m.join(group, source, ifs))
}

// Leave undoes Join on the named interfaces, or altogether, whether or not it holds
// at the moment. Of all interfaces the named ones are left as long as they exist,
// under whatever name, and then those of their names; the others stay, also those
// to come. Leaving what was not joined is EADDRNOTAVAIL.
func (m *MulticastConn) Leave(group netip.Addr, ifs ...*net.Interface) error {
	return m.opErrorGroup("leave", group, m.leave(group, netip.Addr{}, ifs))
}

// LeaveSource undoes JoinSource on the named interfaces, or altogether, as
// [MulticastConn.Leave] does it.
func (m *MulticastConn) LeaveSource(group, source netip.Addr, ifs ...*net.Interface) error {
	if !source.IsValid() {
		return m.opErrorGroup("leave", group, &net.AddrError{Err: "missing source address"})
	}
	return m.opErrorGroup("leave", group, m.leave(group, source, ifs))
}

func (m *MulticastConn) join(group, source netip.Addr, ifs []*net.Interface) error {
	key, err := m.key(group, source)
	if err != nil {
		return err
	}
	if only := m.groups.only; only.IsValid() && key.group != only {
		return fmt.Errorf("the socket is bound to %v: %w", only, sys.EINVAL)
	}
	return m.groups.join(key, group.Zone(), ifs)
}

func (m *MulticastConn) leave(group, source netip.Addr, ifs []*net.Interface) error {
	key, err := m.key(group, source)
	if err != nil {
		return err
	}
	return m.groups.leave(key, group.Zone(), ifs)
}

// key checks a group and its source and brings them into one form.
func (m *MulticastConn) key(group, source netip.Addr) (membershipKey, error) {
	key := membershipKey{group: group.Unmap().WithZone(""), source: source.Unmap().WithZone("")}
	switch {
	case m.closed():
		return key, net.ErrClosed
	case !key.group.IsMulticast():
		return key, fmt.Errorf("%v is not a multicast group: %w", group, sys.EINVAL)
	case key.source.IsValid() && (key.source.IsMulticast() || key.source.IsUnspecified()):
		return key, fmt.Errorf("%v is not a source: %w", source, sys.EINVAL)
	case key.source.IsValid() && key.source.Is4() != key.group.Is4(), !m.family.Has(key.group):
		return key, ErrFamily
	}
	return key, nil
}

func (m *MulticastConn) opErrorGroup(op string, group netip.Addr, err error) error {
	if err == nil {
		return nil
	}
	return m.opError(op, netip.AddrPortFrom(group, m.LocalAddrPort().Port()), err)
}

// Memberships returns what has been joined and not left, in the order of
// joining, and for each interface whether it holds.
func (m *MulticastConn) Memberships() []Membership { return m.groups.list() }

// SetMulticastTTL sets the time to live (IPv4) and the hop limit (IPv6) of what is sent
// to groups: 0 stays on this host, 1, the default, in the local network, up
// to 255. Anything else is EINVAL.
func (m *MulticastConn) SetMulticastTTL(n int) error {
	if n < 0 || n > 255 {
		return m.opError("set", netip.AddrPort{}, fmt.Errorf("TTL %d: %w", n, sys.EINVAL))
	}
	return m.setOption(socket.MulticastTTL, n)
}

// MulticastTTL returns the time to live of what is sent to groups.
func (m *MulticastConn) MulticastTTL() (int, error) { return m.option(socket.MulticastTTL) }

// SetMulticastLoopback says whether what is sent to groups also reaches sockets on this
// host, this one included; it does by default. On Windows it is the receiver's
// choice instead of the sender's. Linux ignores it on the loopback interface.
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

// setOption sets an option for each family that the socket sends to, or for none.
// What a callback has gathered leaves before.
func (m *MulticastConn) setOption(o socket.MulticastOption, value int) error {
	if m.closed() {
		return m.opError("set", netip.AddrPort{}, net.ErrClosed)
	}
	m.out.flush()
	before, err := 0, error(nil)
	if m.family == socket.Dual {
		before, err = m.sock.Multicast(o, false)
	}
	if err == nil && m.family&socket.IPv4 != 0 {
		err = m.sock.SetMulticast(o, false, value)
	}
	if err == nil && m.family&socket.IPv6 != 0 {
		if err = m.sock.SetMulticast(o, true, value); err != nil && m.family == socket.Dual {
			_ = m.sock.SetMulticast(o, false, before)
		}
	}
	return m.opError("set", netip.AddrPort{}, err)
}

func (m *MulticastConn) option(o socket.MulticastOption) (int, error) {
	if m.closed() {
		return 0, m.opError("get", netip.AddrPort{}, net.ErrClosed)
	}
	n, err := m.sock.Multicast(o, m.family&socket.IPv4 == 0)
	return n, m.opError("get", netip.AddrPort{}, err)
}
