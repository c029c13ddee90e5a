package sys

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
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
	mu      sync.Mutex
	closed  bool
	on      bool               // IP_MULTICAST_ALL is
	own     map[place]int      // memberships of the socket itself
	others  map[place]int      // of holders
	holders map[member]*holder // whose they are
	free    [2][]*holder       // by family, those that may have room
}

// place is where a group is joined, for whatever sources.
type place struct {
	group   netip.Addr
	ifindex int
}

func (m member) place() place { return place{m.group, m.ifindex} }

// holder is a socket that is nothing but a member.
type holder struct {
	fd      int
	v6      bool
	members int
	full    bool // and not among those that may have room
}

// joinMember joins, on another socket when this one has no room.
//
// A socket that is a member for some sources of a group takes no others in, so
// all that concerns one place is joined by the socket itself or by holders.
func (c *Conn) joinMember(m member) error {
	s := &c.spill
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if s.others[m.place()] > 0 {
		return s.join(c, m, nil)
	}
	err := c.membership(m, true)
	switch {
	case err == nil:
		count(&s.own, m.place(), 1)
		return nil
	case !noRoom(err):
		return err
	case s.own[m.place()] > 0:
		return fmt.Errorf("too many sources of one group (sysctl %s): %w", sourceLimit(m.group), err)
	case m.group.Is4():
		err = fmt.Errorf("too many memberships of one socket (sysctl net.ipv4.igmp_max_memberships): %w", err)
	}
	return s.join(c, m, err)
}

func sourceLimit(group netip.Addr) string {
	if group.Is4() {
		return "net.ipv4.igmp_max_msf"
	}
	return "net.ipv6.mld_max_msf"
}

// leaveMember undoes joinMember.
//
// Linux does not take a source away after its interface has gone (ENODEV from
// ip_mc_source), and then refuses it to the next interface of that index. The
// group it does take away, with all sources.
func (c *Conn) leaveMember(m member) error {
	s := &c.spill
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.others[m.place()] > 0 {
		return s.leave(m)
	}
	err := c.membership(m, false)
	if m.source.IsValid() && errors.Is(err, unix.ENODEV) {
		err = c.membership(m.allSources(), false)
	}
	count(&s.own, m.place(), -1)
	return err
}

func (m member) allSources() member { return member{group: m.group, ifindex: m.ifindex} }

func count(places *map[place]int, p place, n int) {
	if *places == nil {
		*places = map[place]int{}
	}
	if (*places)[p] += n; (*places)[p] <= 0 {
		delete(*places, p)
	}
}

// join makes a holder join; full is why the socket itself did not.
func (s *spill) join(c *Conn, m member, full error) error {
	if err := s.letIn(c); err != nil {
		return errors.Join(full, err)
	}
	free := s.freeOf(m.group.Is6())
	for len(*free) > 0 {
		last := len(*free) - 1
		h := (*free)[last]
		err := h.change(m, true)
		if err == nil {
			s.hold(h, m)
			return nil
		}
		if !noRoom(err) {
			return err
		}
		h.full = true
		*free = slices.Delete(*free, last, last+1)
	}
	fd, err := c.beside(m.group.Is6())
	if err != nil {
		return errors.Join(full, fmt.Errorf("a socket for more memberships: %w", err))
	}
	h := &holder{fd: fd, v6: m.group.Is6()}
	if err := h.change(m, true); err != nil {
		unix.Close(fd)
		return errors.Join(full, err)
	}
	*free = append(*free, h)
	s.hold(h, m)
	return nil
}

func (s *spill) freeOf(v6 bool) *[]*holder {
	if v6 {
		return &s.free[1]
	}
	return &s.free[0]
}

func (s *spill) hold(h *holder, m member) {
	if s.holders == nil {
		s.holders = map[member]*holder{}
	}
	s.holders[m] = h
	h.members++
	count(&s.others, m.place(), 1)
}

// leave makes the holder leave that has joined.
func (s *spill) leave(m member) error {
	h := s.holders[m]
	if h == nil {
		return sysErr("setsockopt", unix.EADDRNOTAVAIL)
	}
	delete(s.holders, m)
	h.members--
	count(&s.others, m.place(), -1)
	free := s.freeOf(h.v6)
	if h.members == 0 {
		*free = slices.DeleteFunc(*free, func(other *holder) bool { return other == h })
		return sysErr("close", unix.Close(h.fd))
	}
	if h.full {
		h.full = false
		*free = append(*free, h)
	}
	err := h.change(m, false)
	if m.source.IsValid() && errors.Is(err, unix.ENODEV) {
		err = h.change(m.allSources(), false)
	}
	return err
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
	for _, h := range s.holders {
		if !closed[h] {
			closed[h] = true
			unix.Close(h.fd)
		}
	}
	s.holders, s.free = nil, [2][]*holder{}
}

// letIn switches IP_MULTICAST_ALL on for both families.
func (s *spill) letIn(c *Conn) error {
	if s.on {
		return nil
	}
	err := onFD(c.rc, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 1)
		if inet6(fd) {
			err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 1))
		}
		return sysErr("setsockopt", err)
	})
	s.on = err == nil
	return err
}

// noRoom says whether a limit of the socket was reached: ENOBUFS for the number
// of memberships, ENOMEM for their memory.
func noRoom(err error) bool { return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) }

// change joins or leaves with the calls of RFC 3678, as x/net does.
func (h *holder) change(m member, join bool) error {
	level := unix.IPPROTO_IP
	if h.v6 {
		level = unix.IPPROTO_IPV6
	}
	group := toStorage(m.group)
	if !m.source.IsValid() {
		option := unix.MCAST_LEAVE_GROUP
		if join {
			option = unix.MCAST_JOIN_GROUP
		}
		b := append(ifindexField(m.ifindex), group...)
		return sysErr("setsockopt", unix.SetsockoptString(h.fd, level, option, string(b)))
	}
	option := unix.MCAST_LEAVE_SOURCE_GROUP
	if join {
		option = unix.MCAST_JOIN_SOURCE_GROUP
	}
	b := append(append(ifindexField(m.ifindex), group...), toStorage(m.source)...)
	return sysErr("setsockopt", unix.SetsockoptString(h.fd, level, option, string(b)))
}

// ifindexField begins struct group_req { uint32_t gr_interface; struct
// sockaddr_storage gr_group; } and struct group_source_req, which goes on with
// struct sockaddr_storage gsr_source. A sockaddr_storage is aligned as a pointer.
func ifindexField(index int) []byte {
	b := make([]byte, max(4, unix.SizeofPtr), 300)
	ne.PutUint32(b, uint32(index))
	return b
}

// toStorage makes a struct sockaddr_storage of an address.
func toStorage(a netip.Addr) []byte {
	b := make([]byte, 128)
	if a.Is4() {
		ne.PutUint16(b, unix.AF_INET)
		copy(b[4:], a.AsSlice())
		return b
	}
	ne.PutUint16(b, unix.AF_INET6)
	copy(b[8:], a.AsSlice())
	return b
}

// beside opens a socket in the network namespace of c, which need not be the
// one of this thread.
func (c *Conn) beside(v6 bool) (fd int, err error) {
	if fd, err = dgram(v6); err != nil {
		return -1, err
	}
	same := false
	err = onFD(c.rc, func(own int) error {
		here, err1 := cookie(fd)
		there, err2 := cookie(own)
		same = here == there || err1 != nil || err2 != nil // Linux below 5.14 can't tell
		return nil
	})
	if same && err == nil {
		return fd, nil
	}
	unix.Close(fd)
	if err != nil {
		return -1, err
	}
	return c.besideElsewhere(v6)
}

// besideElsewhere takes the thread into the namespace of c for a moment. It
// needs CAP_SYS_ADMIN, which a program with sockets in several namespaces has,
// or had once.
func (c *Conn) besideElsewhere(v6 bool) (fd int, err error) {
	runtime.LockOSThread()
	before, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return -1, sysErr("open", err)
	}
	defer unix.Close(before)
	err = onFD(c.rc, func(own int) error {
		there, err := unix.IoctlRetInt(own, unix.SIOCGSKNS)
		if err != nil {
			return sysErr("ioctl", err)
		}
		defer unix.Close(there)
		return sysErr("setns", unix.Setns(there, unix.CLONE_NEWNET))
	})
	if err != nil {
		runtime.UnlockOSThread()
		return -1, err
	}
	fd, err = dgram(v6)
	if unix.Setns(before, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread() // else the thread ends with its goroutine
	}
	return fd, err
}

func dgram(v6 bool) (int, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return fd, sysErr("socket", err)
}

// Info implements socket.Socket.
func (c *Conn) Info() socket.Info {
	info := c.currentInfo()
	info.MulticastFilter = info.MulticastFilter && !c.spill.active()
	return info
}
