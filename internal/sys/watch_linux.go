package sys

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// Namespace lists and watches the interfaces of one network namespace
// (network_namespaces(7)).
//
// net.Interfaces lists those of the namespace of the calling thread, which depends on where
// the goroutine happens to run. A netlink socket, like a UDP socket, stays in the namespace of
// the thread that opened it, whoever uses it. So a Namespace uses sockets that were opened
// where the UDP socket was.
type Namespace struct {
	id   uint64  // 0: unknown
	fd   int     // netlink socket for requests; -1: not allowed
	proc *ifProc // instead of fd; nil: use package net

	asking sync.Mutex // one request at a time
	seq    uint32     // guarded by asking

	mu   sync.Mutex
	last uint64 // generation given to an interface
	seen map[int]sighting
}

// sighting is the state of the interface of an index, from when it was first seen until it is
// removed.
type sighting struct {
	generation uint64
	emptied    uint64 // how often it has lost memberships
	without    int    // result of protocolsWithout
}

// protocolsWithout returns how many of IPv6 and IPv4, in that order, a link cannot carry
// because of its MTU. The kernel drops the memberships of these on the link, and does not
// restore them when the MTU grows (addrconf_notify in net/ipv6/addrconf.c, inetdev_event in
// net/ipv4/devinet.c).
func protocolsWithout(mtu int) int {
	switch {
	case mtu >= socket.MinMTU(true):
		return 0
	case mtu >= socket.MinMTU(false):
		return 1
	}
	return 2
}

// Here opens the Namespace of this thread. It does so even where netlink is not allowed
// (Android from version 11 on, some seccomp filters).
func Here() (*Namespace, error) {
	n := &Namespace{}
	var err error
	n.fd, err = routeSocket(0, 0)
	fd := n.fd
	if err != nil {
		n.fd = -1
		if n.proc, err = openIfProc(); err != nil {
			return n, nil
		}
		fd = n.proc.fd
	}
	if n.id, err = cookie(fd); err == nil {
		return n, nil
	}
	var st unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/net", &st) == nil {
		n.id = st.Ino
	}
	return n, nil
}

// cookie identifies the network namespace of a socket (Linux 5.14).
func cookie(fd int) (uint64, error) {
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

// ID identifies the namespace. It is 0 if unknown.
func (n *Namespace) ID() uint64 { return n.id }

// Close closes the Namespace. No other call may be in progress.
func (n *Namespace) Close() {
	if n.fd >= 0 {
		unix.Close(n.fd)
	}
	if n.proc != nil {
		n.proc.close()
	}
}

// routeSocket opens a netlink socket that receives the notifications of groups.
func routeSocket(flags int, groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|flags, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, sysErr("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return -1, sysErr("bind", err)
	}
	return fd, nil
}

// newsBuffer has room for notifications about several hundred interfaces. If it overflows, every
// group is joined again; nothing else is lost.
const newsBuffer = 1 << 20

// newsPause is the pause after an error that may persist.
const newsPause = 100 * time.Millisecond

// Watch calls changed after the interfaces have changed, until stop. It must be called on a
// thread of the namespace.
func (n *Namespace) Watch(changed func()) (stop func(), err error) {
	if n.fd < 0 {
		return poll(n.Interfaces, pollInterval, changed), nil
	}
	fd, err := routeSocket(unix.SOCK_NONBLOCK, unix.RTMGRP_LINK|unix.RTMGRP_IPV4_IFADDR|unix.RTMGRP_IPV6_IFADDR)
	if err != nil {
		return poll(n.Interfaces, pollInterval, changed), nil
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, newsBuffer)
	f := os.NewFile(uintptr(fd), "netlink")
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			size, err := f.Read(b)
			switch {
			case errors.Is(err, os.ErrClosed):
				return
			case err != nil: // ENOBUFS: the buffer was full
				n.lostNews()
				if !errors.Is(err, unix.ENOBUFS) {
					// The poller may return it again until the next notification: see unpollable.
					time.Sleep(newsPause)
				}
			default:
				n.hear(b[:size])
			}
			changed()
		}
	}()
	return func() { f.Close(); <-done }, nil
}

// lostNews forgets the interfaces: any of them may have been replaced.
func (n *Namespace) lostNews() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = nil
}

// hear records which interfaces were removed and which lost their memberships. Everything else is
// listed when it is needed.
func (n *Namespace) hear(b []byte) {
	for len(b) > 0 {
		m, rest, ok := cutMessage(b)
		if !ok {
			n.lostNews()
			return
		}
		b = rest
		// A bridge sends RTM_DELLINK with AF_BRIDGE for a port that leaves it.
		if len(m.data) < unix.SizeofIfInfomsg || m.data[0] != unix.AF_UNSPEC {
			continue
		}
		if m.kind == unix.RTM_DELLINK {
			n.mu.Lock()
			delete(n.seen, int(int32(ne.Uint32(m.data[4:]))))
			n.mu.Unlock()
		}
		if ifi, ok := parseLink(&m); ok && ifi.MTU > 0 {
			n.heardMTU(ifi.Index, protocolsWithout(ifi.MTU))
		}
	}
}

// heardMTU records how many protocols an interface cannot carry: see protocolsWithout.
func (n *Namespace) heardMTU(index, without int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.seen[index]
	if !ok {
		return
	}
	if without > s.without {
		s.emptied++
	}
	s.without = without
	n.seen[index] = s
}

// Interfaces lists the interfaces by index.
func (n *Namespace) Interfaces() ([]socket.Interface, error) {
	n.asking.Lock()
	defer n.asking.Unlock()
	switch {
	case n.proc != nil:
		return n.proc.interfaces()
	case n.fd < 0:
		return netInterfaces()
	}
	ifs, err := n.interfaces()
	if err == nil {
		n.tellApart(ifs)
	}
	return ifs, err
}

// tellApart gives each interface its generation, and forgets those that are missing. An
// interface that is replaced during the request gets its new generation after its
// notification has been read.
func (n *Namespace) tellApart(ifs []socket.Interface) {
	n.mu.Lock()
	defer n.mu.Unlock()
	seen := make(map[int]sighting, len(ifs))
	for i := range ifs {
		s, ok := n.seen[ifs[i].Index]
		if !ok {
			n.last++
			s = sighting{generation: n.last, without: protocolsWithout(ifs[i].MTU)}
		}
		seen[ifs[i].Index] = s
		ifs[i].Generation, ifs[i].Emptied = s.generation, s.emptied
	}
	n.seen = seen
}
