package sys

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// Namespace is a view of the interfaces that sockets of one network namespace
// have (network_namespaces(7)).
//
// Which namespace net.Interfaces tells about depends on the thread that a
// goroutine happens to run on. A netlink socket stays, as UDP sockets do, in the
// namespace of the thread that made it, whoever uses it later. So everything is
// asked by sockets that were made where the UDP socket was.
type Namespace struct {
	id uint64 // 0: unknown
	fd int    // for questions; -1: not allowed

	asking sync.Mutex // one question at a time
	seq    uint32

	mu   sync.Mutex
	last uint64 // generation given
	seen map[int]sighting
}

// sighting is what is known of the interface of an index, from when it was first
// seen until it goes.
type sighting struct {
	generation uint64
	emptied    uint64 // times
	without    int    // see protocolsWithout
}

// protocolsWithout says how many of IPv6 and IPv4, in that order, a link does
// without since its packets are too short. What was joined on the link for one of
// them is then gone, and does not come back with a longer MTU (addrconf_notify in
// net/ipv6/addrconf.c, inetdev_event in net/ipv4/devinet.c).
func protocolsWithout(mtu int) int {
	switch {
	case mtu >= socket.MinMTU(true):
		return 0
	case mtu >= socket.MinMTU(false):
		return 1
	}
	return 2
}

// Here opens the view that sockets have which the caller makes on this thread.
// It is opened also where netlink is not allowed (Android from version 11 on,
// some seccomp filters), and then is a view of the threads that use it.
func Here() (*Namespace, error) {
	n := &Namespace{}
	var err error
	if n.fd, err = routeSocket(0, 0); err != nil {
		n.fd = -1
		return n, nil
	}
	if n.id, err = cookie(n.fd); err == nil {
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

// ID is the same for views of one namespace, and 0 where that is not known.
func (n *Namespace) ID() uint64 { return n.id }

// Close ends the use of the view, after every other call has returned.
func (n *Namespace) Close() {
	if n.fd >= 0 {
		unix.Close(n.fd)
	}
}

// routeSocket opens a netlink socket that hears of groups.
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

// newsBuffer holds the news of several hundred interfaces at once. When it
// overflows nothing goes wrong, but everything is joined anew.
const newsBuffer = 1 << 20

// newsPause is how long nothing is heard after an error that may last.
const newsPause = 100 * time.Millisecond

// Watch calls changed after the interfaces have changed, until stop. It has to
// be called on a thread of the namespace.
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
			case err != nil: // ENOBUFS: some did not fit
				n.lostNews()
				if !errors.Is(err, unix.ENOBUFS) {
					// The poller says it once more, until the next news; see unpollable.
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

// lostNews: any interface may be another one now.
func (n *Namespace) lostNews() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = nil
}

// hear notes the interfaces that have gone, and those that have lost what was
// joined on them. All else is asked for.
func (n *Namespace) hear(b []byte) {
	for len(b) > 0 {
		m, rest, ok := cutMessage(b)
		if !ok {
			n.lostNews()
			return
		}
		b = rest
		// A bridge also says RTM_DELLINK of a port that leaves it, as AF_BRIDGE.
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

// heardMTU notes that an interface can't carry a protocol any more.
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

// Interfaces lists the interfaces there are now, by index.
func (n *Namespace) Interfaces() ([]socket.Interface, error) {
	if n.fd < 0 {
		return netInterfaces()
	}
	n.asking.Lock()
	defer n.asking.Unlock()
	ifs, err := n.interfaces()
	if err == nil {
		n.tellApart(ifs)
	}
	return ifs, err
}

// tellApart gives each interface its generation, and forgets those that are not
// there. One that is replaced while it is asked for, or whose news are still to be
// read, is told apart when these have been.
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
