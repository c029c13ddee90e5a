package sys

import (
	"errors"
	"maps"
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
	gone generations
}

// generations counts how often an index has lost its interface.
type generations struct {
	all     uint64 // news were lost: it may have been any of them
	byIndex map[int]uint64
}

// Here opens the view that sockets have which the caller makes on this thread.
// It is opened also where netlink is not allowed (Android from version 11 on,
// some seccomp filters), and then is a view of the threads that use it.
func Here() (*Namespace, error) {
	n := &Namespace{gone: generations{byIndex: map[int]uint64{}}}
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

func (n *Namespace) lostNews() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone.all++
}

// hear notes the interfaces that have gone. All else is asked for.
func (n *Namespace) hear(b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(b) > 0 {
		m, rest, ok := cutMessage(b)
		if !ok {
			n.gone.all++
			return
		}
		b = rest
		// A bridge also says RTM_DELLINK of a port that leaves it, as AF_BRIDGE.
		if m.kind == unix.RTM_DELLINK && len(m.data) >= unix.SizeofIfInfomsg && m.data[0] == unix.AF_UNSPEC {
			n.gone.byIndex[int(int32(ne.Uint32(m.data[4:])))]++
		}
	}
}

// Interfaces lists the interfaces there are now, by index.
func (n *Namespace) Interfaces() ([]socket.Interface, error) {
	if n.fd < 0 {
		return netInterfaces()
	}
	// Before asking: an interface that is replaced meanwhile changes it afterwards.
	n.mu.Lock()
	gone := generations{all: n.gone.all, byIndex: maps.Clone(n.gone.byIndex)}
	n.mu.Unlock()
	n.asking.Lock()
	defer n.asking.Unlock()
	ifs, err := n.interfaces()
	for i := range ifs {
		ifs[i].Generation = gone.all<<32 + gone.byIndex[ifs[i].Index]
	}
	return ifs, err
}
