package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/udpkit/udp/internal/socket"
)

// A GroupSend is what became of a datagram on one interface.
type GroupSend struct {
	Name  string // of the interface
	Index int    // of the interface, 0 while there is none of that name
	Err   error  // nil: the system took it
}

// SendGroup sends b to a group on each of the named interfaces, or, without
// any, on every one where the group is joined; if it isn't joined anywhere, on
// every one where Join would join it. It does not change [MulticastConn.Interface].
//
// It returns one result for each interface. The error is nil when one of them at
// least took the datagram, otherwise it is all their errors joined; it is as
// that of [Conn.SendTo].
func (m *MulticastConn) SendGroup(b []byte, group netip.Addr, port uint16, ifs ...*net.Interface) ([]GroupSend, error) {
	to := netip.AddrPortFrom(group.Unmap().WithZone(""), port)
	if !to.Addr().IsMulticast() {
		return nil, m.opError("send", to, &net.AddrError{Err: "not a multicast group", Addr: group.String()})
	}
	out, err := m.groups.outlets(to.Addr(), group.Zone(), ifs)
	if err != nil {
		return nil, m.opError("send", to, err)
	}
	sent := make([]GroupSend, 0, len(out))
	errs := make([]error, 0, len(out))
	for _, t := range out {
		s := GroupSend{Name: t.name, Index: t.index, Err: t.err}
		if s.Err == nil {
			s.Err = m.sendBy(b, to, t.index)
		}
		sent = append(sent, s)
		if s.Err == nil {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.Name, s.Err))
	}
	switch {
	case len(sent) == 0:
		return nil, m.opError("send", to, fmt.Errorf("no interface fits: %w", errGone))
	case len(errs) == len(sent):
		return sent, m.opError("send", to, errors.Join(errs...))
	}
	return sent, nil
}

// sendBy sends one datagram by one interface.
func (m *MulticastConn) sendBy(b []byte, to netip.AddrPort, index int) error {
	msg := socket.Message{Data: b, To: to, IfIndex: index}
	if local := m.LocalAddrPort().Addr(); !local.IsUnspecified() && !local.IsMulticast() {
		msg.From = local // which naming the interface would make Linux forget
	}
	m.out.flush()
	err := m.address(&msg)
	if err == nil && m.closed() {
		err = net.ErrClosed
	}
	if err != nil {
		m.countFailure(err)
		return err
	}
	return m.send(msg)
}

// outlets are the interfaces that SendGroup uses.
func (r *registry) outlets(group netip.Addr, zone string, ifs []*net.Interface) (ts []target, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add := func(t target) {
		if !slices.ContainsFunc(ts, func(other target) bool { return other.is(t.ifRef) }) {
			ts = append(ts, t)
		}
	}
	if len(ifs) == 0 && zone == "" {
		if r.stopped {
			return nil, net.ErrClosed
		}
		for _, w := range r.byGroup[group] {
			for _, h := range w.on {
				if h.err == nil {
					add(target{ifRef: h.ifRef})
				}
			}
		}
		if len(ts) > 0 {
			return ts, nil
		}
	}
	known, err := r.look()
	if err == nil && len(ifs) == 0 && zone == "" {
		if unjudged := r.unjudged(known); len(unjudged) > 0 {
			r.askUnlocked(unjudged)
			known, err = r.look()
		}
	}
	if err != nil {
		return nil, err
	}
	refs, err := refer(known, zone, ifs)
	if err != nil {
		return nil, err
	}
	for i := range refs {
		add(resolve(&refs[i], group, known))
	}
	if len(refs) == 0 {
		ts = r.fitting(group, newCensus(known))
	}
	return ts, nil
}
