package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A GroupSend is the result of [MulticastConn.SendGroup] or [Conn.SendBroadcast] on one
// interface.
type GroupSend struct {
	Name  string // of the interface
	Index int    // of the interface, 0 while there is none of that name
	Err   error  // nil if the system accepted the datagram
}

// SendGroup sends b to a group on each of the named interfaces. Without any, it sends on every
// interface where the group is joined, or if it is joined nowhere, where Join would join it. It
// does not change what [MulticastConn.SetMulticastInterface] has chosen.
//
// It sends immediately and returns a result for each interface. The error is nil if one
// of them accepts the datagram. Otherwise it has the errors of all, which are those of
// [Conn.SendTo].
func (m *MulticastConn) SendGroup(b []byte, group netip.Addr, port uint16, ifs ...*net.Interface) ([]GroupSend, error) {
	if err := m.ready("send"); err != nil {
		return nil, err
	}
	group = group.Unmap()
	to := netip.AddrPortFrom(group.WithZone(""), port)
	if !group.IsMulticast() {
		return nil, m.opError("send", to, &net.AddrError{Err: "not a multicast group", Addr: group.String()})
	}
	outlets, err := m.memberships.Outlets(group, ifs)
	if err != nil {
		return nil, m.opError("send", to, err)
	}
	sent := make([]GroupSend, len(outlets))
	for i, o := range outlets {
		if o.Err == nil {
			o.Err = m.sendBy(b, to, o.Index)
		}
		sent[i] = GroupSend(o)
	}
	return sent, m.noneSent(to, sent)
}

// SendBroadcast sends b to every host of the networks that the named interfaces are on.
// Without any, it sends on every interface that is up, can broadcast, has an IPv4 address,
// and that [Config.InterfaceFilter] selects. The datagram leaves from an address of the
// interface, or from the one that the socket is bound to. (SendTo 255.255.255.255 leaves by
// one interface, which the routes choose, and fails without a route.)
//
// It sends immediately and returns a result for each interface. The destination is
// 255.255.255.255. Where a send cannot name the interface (macOS, the BSDs, Windows),
// it is the broadcast address of each network of the interface. The error is nil if one
// of them accepts the datagram. Otherwise it has the errors of all, which are those of
// [Conn.SendTo]: EACCES without [Config.Broadcast], ENODEV for an interface that is
// missing.
func (c *Conn) SendBroadcast(b []byte, port uint16, ifs ...*net.Interface) ([]GroupSend, error) {
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), port)
	if !c.ok() {
		return nil, errNoSocket("send")
	}
	if c.closed() {
		c.out.CountFailure(net.ErrClosed)
		return nil, c.opError("send", to, net.ErrClosed)
	}
	var outlets []socket.Interface
	all, err := c.sock.Interfaces()
	if err == nil {
		outlets, err = socket.Broadcasters(all, ifs, c.admits)
	}
	if err == nil && len(outlets) == 0 {
		err = fmt.Errorf("no suitable interface: %w", sys.ENODEV)
	}
	if err != nil {
		return nil, c.opError("send", to, err)
	}
	sent := make([]GroupSend, len(outlets))
	for i, o := range outlets {
		sent[i] = GroupSend{Name: o.Name, Index: o.Index, Err: c.broadcastBy(b, to, o)}
	}
	return sent, c.noneSent(to, sent)
}

// noneSent returns the errors of all if there is one on every interface.
func (c *Conn) noneSent(to netip.AddrPort, sent []GroupSend) error {
	errs := make([]error, len(sent))
	for i, s := range sent {
		if s.Err == nil {
			return nil
		}
		errs[i] = fmt.Errorf("%s: %w", s.Name, s.Err)
	}
	return c.opError("send", to, errors.Join(errs...))
}

// broadcastBy sends one datagram to the networks of an interface.
func (c *Conn) broadcastBy(b []byte, to netip.AddrPort, i socket.Interface) error {
	if i.Index == 0 {
		err := fmt.Errorf("no such interface: %w", sys.ENODEV)
		c.out.CountFailure(err)
		return err
	}
	if c.cfg.Network != nil || sys.TakesIPv4Interface() {
		return c.sendBy(b, to, i.Index)
	}
	err := fmt.Errorf("no IPv4 network: %w", sys.EADDRNOTAVAIL)
	for _, p := range i.Addrs {
		if a, ok := socket.BroadcastOf(p); ok {
			if err = c.sendOne(&socket.Message{Data: b, To: netip.AddrPortFrom(a, to.Port()), From: p.Addr()}); err != nil {
				return err
			}
		}
	}
	return err
}

// admits reports whether Config.InterfaceFilter selects an interface.
func (c *Conn) admits(ifi net.Interface) (ok bool) {
	if c.cfg.InterfaceFilter == nil {
		return true
	}
	c.guard.Call("InterfaceFilter", func() { ok = c.cfg.InterfaceFilter(&ifi) })
	return ok
}

// sendBy sends one datagram by one interface.
func (c *Conn) sendBy(b []byte, to netip.AddrPort, index int) error {
	msg := socket.Message{Data: b, To: to, IfIndex: index}
	if local := c.LocalAddrPort().Addr(); !local.IsUnspecified() && !local.IsMulticast() {
		msg.From = local // a control message with an interface and no source overrides bind on Linux
	}
	return c.sendOne(&msg)
}
