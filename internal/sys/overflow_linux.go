package sys

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// overflow has the memberships of a socket beyond the kernel's limit. A socket can be a member
// of 20 IPv4 groups (net.ipv4.igmp_max_memberships; a group on two interfaces counts twice),
// and of as many IPv6 groups as fit into net.core.optmem_max bytes.
//
// Overflow sockets are members of the rest. They are not bound, so nothing is ever queued for
// them. The socket itself gets IP_MULTICAST_ALL, so it receives what any socket of this host
// has joined, and the layer above drops what it has not joined. IP_MULTICAST_ALL is cleared
// again when the last overflow socket is closed. Memberships never move back to the socket.
type overflow struct {
	mu     sync.Mutex
	closed bool
	on     bool // IP_MULTICAST_ALL
	places map[place]*membership
	free   [2][]*overflowSocket // by family: sockets that may have room
	open   int                  // overflow sockets
}

// place is a group on an interface. A socket has one source filter for each.
type place struct {
	group   netip.Addr
	ifindex int
}

func (m member) place() place { return place{m.group, m.ifindex} }

// membership has the sources joined at one place. They are all joined by one socket, because a
// socket that has joined a group for some sources does not receive those of another socket.
type membership struct {
	by      *overflowSocket // nil: the socket itself
	sources []netip.Addr    // none: all sources
}

// overflowSocket is a socket that only has memberships.
type overflowSocket struct {
	uc      *net.UDPConn
	v6      bool
	members int  // places
	full    bool // not in overflow.free
}

// joinMember joins, on another socket if this one has no room.
func (c *Conn) joinMember(m member) error {
	s := &c.overflow
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

// first makes the first membership at a place.
func (s *overflow) first(c *Conn, m member) error {
	at := &membership{}
	if m.source.IsValid() {
		at.sources = []netip.Addr{m.source}
	}
	err := changeMembership(c.uc, m, join)
	if noRoom(err) {
		if m.group.Is4() {
			err = fmt.Errorf("too many memberships of one socket (sysctl net.ipv4.igmp_max_memberships): %w", err)
		}
		at.by, err = s.join(c, m, err)
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

// leaveMember undoes joinMember. Without a source it leaves the group with all sources. After
// the interface was removed only that works: leaving a source fails (ENODEV from ip_mc_source),
// and Linux would apply the membership to the next interface of that index.
func (c *Conn) leaveMember(m member) error {
	s := &c.overflow
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.places[m.place()]
	if at == nil {
		return sysErr("setsockopt", unix.EADDRNOTAVAIL)
	}
	if m.source.IsValid() && len(at.sources) > 1 {
		at.sources = slices.DeleteFunc(at.sources, func(a netip.Addr) bool { return a == m.source })
		return s.change(c, at, m, leave)
	}
	m.source = netip.Addr{}
	delete(s.places, m.place())
	if at.by != nil {
		return s.leave(c, at.by, m)
	}
	return s.change(c, at, m, leave)
}

// blockMember makes the kernel drop a source, or accept it again.
func (c *Conn) blockMember(m member, a action) error {
	s := &c.overflow
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.places[m.place()]
	if at == nil {
		return sysErr("setsockopt", unix.EADDRNOTAVAIL)
	}
	return s.change(c, at, m, a)
}

func (s *overflow) change(c *Conn, at *membership, m member, a action) error {
	if at.by != nil {
		return changeMembership(at.by.uc, m, a)
	}
	return changeMembership(c.uc, m, a)
}

// join joins on an overflow socket. full is the error of the socket itself.
func (s *overflow) join(c *Conn, m member, full error) (*overflowSocket, error) {
	if err := s.setAll(c, true); err != nil {
		return nil, errors.Join(full, err)
	}
	free := &s.free[toInt(m.group.Is6())]
	for len(*free) > 0 {
		last := len(*free) - 1
		o := (*free)[last]
		err := changeMembership(o.uc, m, join)
		if err == nil {
			o.members++
			return o, nil
		}
		if !noRoom(err) {
			return nil, err
		}
		o.full = true
		*free = slices.Delete(*free, last, last+1)
	}
	o, err := newOverflowSocket(c, m)
	if err != nil {
		s.endAll(c)
		return nil, errors.Join(full, err)
	}
	s.open++
	*free = append(*free, o)
	return o, nil
}

// newOverflowSocket opens an overflow socket with its first membership.
func newOverflowSocket(c *Conn, m member) (*overflowSocket, error) {
	o := &overflowSocket{v6: m.group.Is6(), members: 1}
	fd, err := c.openInNamespace(o.v6)
	if err != nil {
		return nil, fmt.Errorf("a socket for more memberships: %w", err)
	}
	// x/net needs a net.PacketConn, and package net can't open one without binding it.
	f := os.NewFile(uintptr(fd), "overflow")
	pc, err := net.FilePacketConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("a socket for more memberships: %w", unwrapOp(err))
	}
	o.uc = pc.(*net.UDPConn)
	if err := changeMembership(o.uc, m, join); err != nil {
		o.uc.Close()
		return nil, err
	}
	return o, nil
}

// leave leaves a place on an overflow socket, and closes it if that was its last.
func (s *overflow) leave(c *Conn, o *overflowSocket, m member) error {
	o.members--
	free := &s.free[toInt(o.v6)]
	if o.members == 0 {
		*free = slices.DeleteFunc(*free, func(other *overflowSocket) bool { return other == o })
		err := unwrapOp(o.uc.Close())
		s.open--
		s.endAll(c)
		return err
	}
	if o.full {
		o.full = false
		*free = append(*free, o)
	}
	return changeMembership(o.uc, m, leave)
}

// endAll clears IP_MULTICAST_ALL if there is no overflow socket.
func (s *overflow) endAll(c *Conn) {
	if s.open == 0 {
		_ = s.setAll(c, false) // on failure the layer above keeps filtering
	}
}

// active reports whether the socket receives what other sockets have joined.
func (s *overflow) active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on
}

func (s *overflow) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, at := range s.places {
		if at.by != nil {
			at.by.uc.Close() // once for each place; closing again only returns an error
		}
	}
	s.places, s.free = nil, [2][]*overflowSocket{}
}

// setAll sets IP_MULTICAST_ALL and IPV6_MULTICAST_ALL.
func (s *overflow) setAll(c *Conn, on bool) error {
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

// noRoom reports whether a limit of the socket was reached: ENOBUFS for the number of
// memberships, ENOMEM for their memory.
func noRoom(err error) bool { return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) }

// Info implements socket.Socket.
func (c *Conn) Info() socket.Info {
	info := c.currentInfo()
	info.MulticastFilter = info.MulticastFilter && !c.overflow.active()
	return info
}
