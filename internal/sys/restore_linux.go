package sys

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// An option is a socket option that this package changes. Other descriptors of the socket
// (dup, File, SCM_RIGHTS, ExtraFiles) share its options, so they are restored before the
// socket's own descriptor is closed.
type option struct {
	level, name int
	// initial is the value that package net gives a new socket; or configured: a socket of Open
	// keeps the value of its Config.
	initial int
}

// configured marks options that are only restored on an adopted socket.
const configured = -1

var options = [...]option{
	{unix.SOL_SOCKET, unix.SO_BROADCAST, 1}, // net sets it
	{unix.SOL_SOCKET, int(timestampOption), 0},
	{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 0},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPING, configured},
	{unix.SOL_SOCKET, unix.SO_MARK, configured},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL, configured},
	{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, configured},

	{unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 1},
	{unix.IPPROTO_IP, unix.IP_PKTINFO, 0},
	{unix.IPPROTO_IP, unix.IP_RECVTOS, 0},
	{unix.IPPROTO_IP, unix.IP_RECVTTL, 0},
	{unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, 0},
	{unix.IPPROTO_IP, unix.IP_RECVERR, 0},
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, configured},
	{unix.IPPROTO_IP, unix.IP_TOS, configured},
	{unix.IPPROTO_IP, unix.IP_TTL, configured},
	{unix.IPPROTO_IP, unix.IP_FREEBIND, configured},
	{unix.IPPROTO_IP, unix.IP_TRANSPARENT, configured},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, configured},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, configured},

	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 1},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 0},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 0},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 0},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR, 0},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 0},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, configured},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, configured},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, configured},
	{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, configured},
	{unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, configured},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, configured},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, configured},

	{unix.SOL_UDP, unix.UDP_GRO, 0},
	{unix.SOL_UDP, unix.UDP_SEGMENT, 0},
	{unix.SOL_UDP, unix.UDP_CORK, 0},
}

// byBind reports whether beforeBind changes the option, which is before Control.
func (o *option) byBind() bool {
	return o.level == unix.IPPROTO_IP && o.name == unix.IP_MULTICAST_ALL ||
		o.level == unix.IPPROTO_IPV6 && o.name == unix.IPV6_MULTICAST_ALL
}

// initialOf returns initial, except that IP_MULTICAST_ALL is clear on a new socket of AF_INET6
// (inet6_create of Linux 6.18 does not set it).
func (o *option) initialOf(fd int) int {
	if o.level == unix.IPPROTO_IP && o.byBind() && inet6(fd) {
		return 0
	}
	return o.initial
}

// A reading is the value of an option, if it could be read.
type reading struct {
	value int
	ok    bool
}

type readings [len(options)]reading

func readOptions(fd int) *readings {
	var r readings
	for i, o := range options {
		n, err := unix.GetsockoptInt(fd, o.level, o.name)
		r[i] = reading{n, err == nil}
	}
	return &r
}

// sharing is the state of a socket that may have other descriptors. A socket whose descriptor
// nobody has seen has none.
type sharing struct {
	possible atomic.Bool

	mu       sync.Mutex
	before   *readings // before this package changed anything
	after    *readings // after that
	blocking bool      // it was in blocking mode
}

// cameShared records the options of a socket before any is changed, if the socket is adopted
// or a Control function of the user has seen it. It prepares an adopted socket for use.
func (c *Conn) cameShared(o socket.Options) error {
	s := &c.sharing
	s.possible.Store(true)
	if c.adopted {
		var err error
		if s.blocking, err = nonblocking(c.rc); err != nil {
			return err
		}
	}
	return onFD(c.rc, func(fd int) error {
		s.before = readOptions(fd)
		if c.adopted {
			// So that each send is one datagram and leaves at once.
			_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0)
			_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_CORK, 0)
			if o.NoOffload {
				_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 0)
			}
			return nil
		}
		for i, o := range options {
			if o.initial == configured {
				s.before[i].ok = false
			} else if o.byBind() {
				s.before[i].value = o.initialOf(fd)
			}
		}
		return nil
	})
}

// isShared records that the user can make other descriptors of the socket from now on, and the
// present options: later changes are not this package's.
func (c *Conn) isShared() {
	s := &c.sharing
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.after != nil {
		return
	}
	s.possible.Store(true)
	_ = onFD(c.rc, func(fd int) error {
		if s.after = readOptions(fd); s.before == nil {
			s.before = new(readings)
			for i, o := range options {
				s.before[i] = reading{o.initialOf(fd), o.initial != configured}
			}
		}
		return nil
	})
}

// handBack undoes what the holders of other descriptors of the socket would not expect: the
// filter that drops everything, and the options that this package has changed. Options that
// others have changed since stay.
func (c *Conn) handBack() {
	s := &c.sharing
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.after == nil && !c.refuses.Load() && !s.possible.Load() {
		return // nobody has seen it
	}
	_ = onFD(c.rc, func(fd int) error {
		if c.refuses.Load() {
			acceptAll(fd)
		}
		if c.alone.Load() && s.possible.Load() && c.group.Load() == nil { // a member must not join its group again
			_ = dissolve(fd)
		}
		if s.after == nil {
			return nil
		}
		for i, o := range options {
			b, a := s.before[i], s.after[i]
			if !b.ok || !a.ok || b.value == a.value {
				continue
			}
			if now, err := unix.GetsockoptInt(fd, o.level, o.name); err == nil && now == a.value {
				_ = unix.SetsockoptInt(fd, o.level, o.name, b.value)
			}
		}
		return nil
	})
}
