package sys

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// A socket can be a member of 20 IPv4 groups (net.ipv4.igmp_max_memberships;
// the same group on two interfaces counts twice), and of as many IPv6 groups as
// net.core.optmem_max has room for. What is over that is joined by other sockets
// that are nothing but members: they are not bound, so nothing is ever queued
// for them. For the socket itself IP_MULTICAST_ALL is then switched on, which
// lets in what anybody on this host has joined, and the layer above looks at
// each destination. Only sockets over the limit pay for that.
type spill struct {
	mu     sync.Mutex
	closed bool
	on     bool // IP_MULTICAST_ALL is
	places map[place]*membership
	free   [2][]*holder // by family, those that may have room
	room   [2]int       // by family, places that the socket itself has left since it was full
	open   int          // holders
}

// place is where a group is joined: there a socket has one filter of sources.
type place struct {
	group   netip.Addr
	ifindex int
}

func (m member) place() place { return place{m.group, m.ifindex} }

// membership is what is joined at one place, all of it by one socket: a socket
// that is a member for some sources of a group takes no others in.
type membership struct {
	holder  *holder      // nil: the socket itself
	sources []netip.Addr // none: for all of them
	blocked []netip.Addr // not these
}

// joinMember joins, on another socket when this one has no room.
func (c *Conn) joinMember(m member) error {
	s := &c.spill
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	at := s.places[m.place()]
	if at == nil {
		return s.first(c, m)
	}
	err := s.change(c, at, m, join)
	switch {
	case err == nil && m.source.IsValid():
		at.sources = append(at.sources, m.source)
	case noRoom(err):
		err = fmt.Errorf("too many sources of one group (sysctl %s): %w", sourceLimit(m.group), err)
	}
	return err
}

// first joins where nothing was joined before.
func (s *spill) first(c *Conn, m member) error {
	at := &membership{}
	if m.source.IsValid() {
		at.sources = []netip.Addr{m.source}
	}
	err := c.membership(m, join)
	if err == nil {
		s.room[v6Index(m.group)] = max(0, s.room[v6Index(m.group)]-1)
	}
	if noRoom(err) {
		s.room[v6Index(m.group)] = 0
		if m.group.Is4() {
			err = fmt.Errorf("too many memberships of one socket (sysctl net.ipv4.igmp_max_memberships): %w", err)
		}
		at.holder, err = s.hold(c, m, err)
	}
	if err != nil {
		return err
	}
	if s.places == nil {
		s.places = map[place]*membership{}
	}
	s.places[m.place()] = at
	return nil
}

func sourceLimit(group netip.Addr) string {
	if group.Is4() {
		return "net.ipv4.igmp_max_msf"
	}
	return "net.ipv6.mld_max_msf"
}

// leaveMember undoes joinMember. Without a source it leaves whatever is joined
// there. Only that works after the interface has gone: Linux does not take a
// source away then (ENODEV from ip_mc_source), and would refuse it to the next
// interface of that index.
func (c *Conn) leaveMember(m member) error {
	s := &c.spill
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.places[m.place()]
	if at == nil {
		return sysErr("setsockopt", unix.EADDRNOTAVAIL)
	}
	last := !m.source.IsValid() || len(at.sources) == 1
	if last {
		m.source = netip.Addr{}
		delete(s.places, m.place())
	} else {
		at.sources = remove(at.sources, m.source)
	}
	switch {
	case last && at.holder != nil:
		return s.release(c, at.holder, m)
	case last:
		s.room[v6Index(m.group)]++
	}
	return s.change(c, at, m, leave)
}

// blockMember makes the kernel keep a source out, or let it in again.
func (c *Conn) blockMember(m member, a action) error {
	s := &c.spill
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.places[m.place()]
	if at == nil {
		return sysErr("setsockopt", unix.EADDRNOTAVAIL)
	}
	err := s.change(c, at, m, a)
	switch {
	case err == nil && a == block:
		at.blocked = append(at.blocked, m.source)
	case err == nil:
		at.blocked = remove(at.blocked, m.source)
	}
	return err
}

func remove(as []netip.Addr, a netip.Addr) []netip.Addr {
	return slices.DeleteFunc(as, func(other netip.Addr) bool { return other == a })
}

// MoveBack makes the socket itself a member again where others are for it, as far as
// there is room. It is for when no interface has gone that something is still joined
// on: the kernel would join on the next one of that index instead.
func (c *Conn) MoveBack() {
	s := &c.spill
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, at := range s.places {
		if s.open == 0 || s.room == [2]int{} {
			return
		}
		room := &s.room[v6Index(p.group)]
		if at.holder == nil || *room == 0 {
			continue
		}
		switch err := s.moveBack(c, p, at); {
		case err == nil:
			*room--
		case noRoom(err):
			*room = 0
		}
	}
}

// moveBack joins first and leaves then, so that nothing is missed, and the host
// stays a member.
func (s *spill) moveBack(c *Conn, p place, at *membership) error {
	all := member{p.group, netip.Addr{}, p.ifindex}
	joins := []member{all}
	if len(at.sources) > 0 {
		joins = nil
		for _, source := range at.sources {
			joins = append(joins, member{p.group, source, p.ifindex})
		}
	}
	for i, m := range joins {
		if err := c.membership(m, join); err != nil {
			if i > 0 {
				_ = c.membership(all, leave)
			}
			return err
		}
	}
	for _, source := range at.blocked {
		_ = c.membership(member{p.group, source, p.ifindex}, block) // else the layer above does it
	}
	h := at.holder
	at.holder = nil
	_ = s.release(c, h, all)
	return nil
}

func (s *spill) change(c *Conn, at *membership, m member, a action) error {
	if at.holder != nil {
		return at.holder.change(m, a)
	}
	return c.membership(m, a)
}

// hold finds a holder that joins; full is why the socket itself did not.
func (s *spill) hold(c *Conn, m member, full error) (*holder, error) {
	if err := s.letIn(c, true); err != nil {
		return nil, errors.Join(full, err)
	}
	free := s.freeOf(m.group.Is6())
	for len(*free) > 0 {
		last := len(*free) - 1
		h := (*free)[last]
		err := h.change(m, join)
		if err == nil {
			h.members++
			return h, nil
		}
		if !noRoom(err) {
			return nil, err
		}
		h.full = true
		*free = slices.Delete(*free, last, last+1)
	}
	h, err := s.another(c, m)
	if err != nil {
		s.settle(c)
		return nil, errors.Join(full, err)
	}
	return h, nil
}

// another opens a holder that joins.
func (s *spill) another(c *Conn, m member) (*holder, error) {
	h := &holder{v6: m.group.Is6(), members: 1}
	var err error
	if h.fd, err = c.beside(h.v6); err != nil {
		return nil, fmt.Errorf("a socket for more memberships: %w", err)
	}
	if err := h.change(m, join); err != nil {
		unix.Close(h.fd)
		return nil, err
	}
	s.open++
	free := s.freeOf(h.v6)
	*free = append(*free, h)
	return h, nil
}

func (s *spill) freeOf(v6 bool) *[]*holder {
	return &s.free[toInt(v6)]
}

func v6Index(a netip.Addr) int { return toInt(a.Is6()) }

// release makes a holder leave a place, and closes it when that was its last.
func (s *spill) release(c *Conn, h *holder, m member) error {
	h.members--
	free := s.freeOf(h.v6)
	if h.members == 0 {
		*free = slices.DeleteFunc(*free, func(other *holder) bool { return other == h })
		err := sysErr("close", unix.Close(h.fd))
		s.open--
		s.settle(c)
		return err
	}
	if h.full {
		h.full = false
		*free = append(*free, h)
	}
	return h.change(m, leave)
}

// settle keeps out again what others have joined when there is no holder left.
func (s *spill) settle(c *Conn) {
	if s.open == 0 {
		_ = s.letIn(c, false) // else the layer above goes on looking
	}
}

// active says whether the socket lets in what others have joined.
func (s *spill) active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on
}

func (s *spill) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	closed := map[*holder]bool{}
	for _, at := range s.places {
		if h := at.holder; h != nil && !closed[h] {
			closed[h] = true
			unix.Close(h.fd)
		}
	}
	s.places, s.free = nil, [2][]*holder{}
}

// letIn switches IP_MULTICAST_ALL for both families.
func (s *spill) letIn(c *Conn, on bool) error {
	if s.on == on {
		return nil
	}
	err := onFD(c.rc, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, toInt(on))
		if inet6(fd) {
			err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, toInt(on)))
		}
		return sysErr("setsockopt", err)
	})
	if err == nil {
		s.on = on
	}
	return err
}

// noRoom says whether a limit of the socket was reached: ENOBUFS for the number
// of memberships, ENOMEM for their memory.
func noRoom(err error) bool { return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) }

// Info implements socket.Socket.
func (c *Conn) Info() socket.Info {
	info := c.currentInfo()
	info.MulticastFilter = info.MulticastFilter && !c.spill.active()
	return info
}
