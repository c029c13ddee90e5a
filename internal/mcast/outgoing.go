package mcast

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// outgoing is the interface chosen for datagrams to groups.
type outgoing struct {
	ifRef
	set bool
}

// ErrStranded is the error of sends to groups while the chosen interface is missing.
var ErrStranded = fmt.Errorf("the outgoing multicast interface was removed: %w", os.NewSyscallError("sendto", sys.ENODEV))

// Stranded reports whether the outgoing interface for a datagram to a group, or to a peer
// that is a group, was removed. The kernel would use another interface that got the index. A
// zone names its own interface. A nil Manager has no outgoing interface.
func (m *Manager) Stranded(to netip.AddrPort, peer *netip.AddrPort) bool {
	if m == nil || !m.outLost.Load() {
		return false
	}
	if peer != nil {
		to = *peer
	}
	a := to.Addr()
	if a.Zone() != "" && (a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast()) {
		return false // for other scopes Linux ignores the zone: udpv6_sendmsg in net/ipv6/udp.c
	}
	return a.IsMulticast()
}

// restoreOutgoing sets the outgoing interface again after it was replaced. It returns false
// if the caller should try again later.
func (m *Manager) restoreOutgoing(now []socket.Interface) bool {
	if !m.out.set {
		return true
	}
	before := m.out.ifRef
	if m.out.follow(now) == nil {
		m.outLost.Store(true)
		return true
	}
	if m.outLost.Load() || !m.out.sameJoins(before) {
		m.outLost.Store(m.SetOption(socket.MulticastInterface, m.out.index) != nil)
	}
	return !m.outLost.Load()
}

// SetInterface chooses the interface for datagrams to groups; nil leaves the choice to the
// system.
func (m *Manager) SetInterface(ifi *net.Interface) error {
	now, unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	out := outgoing{}
	if ifi != nil {
		refs, err := refer(now.ifs, "", []*net.Interface{ifi})
		if err != nil {
			return err
		}
		if refs[0].index == 0 {
			return errRemoved // 0 would leave the choice to the system
		}
		out = outgoing{ifRef: refs[0], set: true}
	}
	if err := m.SetOption(socket.MulticastInterface, out.index); err != nil {
		return err
	}
	m.out = out
	m.outLost.Store(false)
	return nil
}

// Interface returns the interface chosen with SetInterface, nil for the system's choice.
func (m *Manager) Interface() (*net.Interface, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.out.set {
		return nil, nil
	}
	now, err := m.list()
	if err != nil {
		return nil, err
	}
	ref := m.out.ifRef
	i := ref.follow(now.ifs)
	if i == nil {
		return nil, errRemoved
	}
	return &i.Interface, nil
}

// SetOption sets an option for each family of the socket, or if one fails for none.
func (m *Manager) SetOption(o socket.MulticastOption, value int) (err error) {
	if o == socket.MulticastTTL && (value < 0 || value > 255) {
		return fmt.Errorf("TTL %d is not between 0 and 255: %w", value, sys.EINVAL)
	}
	sock, family := m.cfg.Socket, m.cfg.Socket.Info().Family
	if family != socket.Dual {
		return sock.SetMulticast(o, family == socket.IPv6, value)
	}
	before, err := sock.Multicast(o, false)
	if err == nil {
		err = sock.SetMulticast(o, false, value)
	}
	if err != nil && !noIPv4Option(err) {
		return err
	}
	if err6 := sock.SetMulticast(o, true, value); err6 != nil {
		if err == nil {
			_ = sock.SetMulticast(o, false, before)
		}
		return err6
	}
	return nil
}

// noIPv4Option reports whether an IPv6 socket of both families has no IPv4 options, as
// on macOS and the BSDs: it sends to IPv6 groups only.
func noIPv4Option(err error) bool {
	return errors.Is(err, sys.EINVAL) || errors.Is(err, sys.ENOPROTOOPT) || errors.Is(err, errors.ErrUnsupported)
}

// Option returns an option, of the IPv4 half if the socket has both families.
func (m *Manager) Option(o socket.MulticastOption) (int, error) {
	return m.cfg.Socket.Multicast(o, m.cfg.Socket.Info().Family&socket.IPv4 == 0)
}

// Outlets returns the interfaces on which a datagram is sent to a group: the named ones, or
// those where the group is joined, or those where Join would join it. There is at least one
// if err is nil. An interface with an Err cannot be used.
func (m *Manager) Outlets(group netip.Addr, ifs []*net.Interface) ([]State, error) {
	zone := group.Zone()
	group = group.WithZone("")
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil, net.ErrClosed
	}
	named := len(ifs) > 0 || zone != ""
	var ts []target
	add := func(t target) {
		if !slices.ContainsFunc(ts, func(other target) bool { return other.matches(t.ifRef) }) {
			ts = append(ts, t)
		}
	}
	if !named {
		for _, d := range m.byGroup[group] {
			for _, a := range d.on {
				if a.err == nil {
					add(target{ifRef: a.ifRef})
				}
			}
		}
	}
	if len(ts) == 0 {
		now, err := m.list()
		if err != nil {
			return nil, err
		}
		refs, err := refer(now.ifs, zone, ifs)
		if err != nil {
			return nil, err
		}
		for i := range refs {
			add(resolve(&refs[i], group, now.ifs))
		}
		if !named {
			ts = now.allFor(group)
		}
	}
	if len(ts) == 0 {
		return nil, errNoInterface
	}
	out := make([]State, len(ts))
	for i, t := range ts {
		out[i] = State{Name: t.name, Index: t.index, Err: t.err}
	}
	return out, nil
}
