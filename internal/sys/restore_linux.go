package sys

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// An option is a socket option that this package changes. Everybody who has
// another descriptor of the socket (dup, File, SCM_RIGHTS, ExtraFiles) sees the
// change, so it is undone before the socket's own descriptor closes.
type option struct {
	level, name int
	// initial is the value of a socket that package net has just made, or
	// configured: then a socket of Open keeps what its Config asked for.
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

// byBind says whether beforeBind changes it, which comes before Control.
func (o *option) byBind() bool {
	return o.level == unix.IPPROTO_IP && o.name == unix.IP_MULTICAST_ALL ||
		o.level == unix.IPPROTO_IPV6 && o.name == unix.IPV6_MULTICAST_ALL
}

// initialOf is initial, but that IP_MULTICAST_ALL is clear on a new socket of
// AF_INET6 (inet6_create of Linux 6.18 does not set it).
func (o *option) initialOf(fd int) int {
	if o.level == unix.IPPROTO_IP && o.byBind() && inet6(fd) {
		return 0
	}
	return o.initial
}

// A reading is the value that an option had, if it had one.
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

// sharing is what a socket keeps because another descriptor of it may exist. A
// socket whose descriptor nobody has seen keeps nothing.
type sharing struct {
	possible atomic.Bool

	mu       sync.Mutex
	before   *readings // before this package changed anything
	after    *readings // once it had
	blocking bool      // it came in blocking mode
}

// cameShared notes what the options of a socket are before anything is changed:
// of one that is adopted, or that a Control function of the user has seen. An
// adopted one becomes fit for use.
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
			// Each send is one datagram, and leaves at once.
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

// isShared notes that from now on somebody may make another descriptor of the
// socket, and what the options are now: what changes later is not this package's.
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

// handBack undoes what the holders of other descriptors of the socket would not
// expect: the filter that drops everything, and the options that this package has
// changed. What somebody else has changed since stays.
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
		if c.alone.Load() && s.possible.Load() && c.group.Load() == nil { // a member must not come back
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
