//go:build !udpbasic

package sys

import (
	"errors"
	"math"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// packetPath is what a socket keeps for Linux's ways to move many datagrams
// with one system call. Receiving is in recv_linux.go and errqueue_linux.go,
// sending in send_linux.go.
type packetPath struct {
	family     socket.Family
	inet6      bool
	peerErrors bool        // the error queue is on while unconnected too
	reports    atomic.Bool // the error queue is on
	queue      reportQueue // what was taken off it
	unwanted   atomic.Bool // it is to be switched off once it is empty
	reported   atomic.Bool // the reader is to look for reports
	woken      atomic.Bool // a Wake that no Woken has answered

	peer4    atomic.Bool // the peer has an IPv4 address
	sendmmsg func(fd uintptr, hs []mmsghdr) (int, syscall.Errno)
	limits   limits // of trains
}

func (p *packetPath) setup(fd int, v6 bool, o socket.Options, info *socket.Info) error {
	p.inet6, p.family, p.peerErrors = v6, info.Family, o.PeerErrors
	p.sendmmsg = sendmmsg
	info.ECN = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1) == nil
	if v6 {
		info.ECN = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1) == nil
	}
	p.limits.segments.Store(1)
	if !o.NoOffload {
		p.offload(fd, info)
	}
	// Tried now, so that Info can tell, and left off until there is a peer.
	info.ErrorQueue = p.setReports(fd, true) == nil
	switch {
	case o.PeerErrors && !info.ErrorQueue:
		return errors.ErrUnsupported
	case !o.PeerErrors && info.ErrorQueue:
		return p.setReports(fd, false)
	}
	return nil
}

// offload switches trains on, where the kernel has them.
func (p *packetPath) offload(fd int, info *socket.Info) {
	info.GRO = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil // Linux 5.0
	// Asking does not switch it on for every send, as setting it would.
	if _, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT); err == nil { // Linux 4.18
		p.limits.segments.Store(firstSegments)
	}
}

// setReports switches the error queue for both families of the socket.
func (p *packetPath) setReports(fd int, on bool) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, toInt(on))
	if p.inet6 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, toInt(on)))
	}
	if err != nil {
		return sysErr("setsockopt", err)
	}
	p.reports.Store(on)
	return nil
}

// wake stops a reader that does not get to waiting, since there is always more.
func (p *packetPath) wake() { p.woken.Store(true) }

func (c *Conn) peerChanged(peer netip.AddrPort) error {
	c.path.peer4.Store(peer.Addr().Is4())
	c.path.limits.note(netip.Addr{}, 0, time.Time{}) // was the old peer's
	on := peer.IsValid() && !c.pull.on || c.path.peerErrors
	c.path.unwanted.Store(!on)
	if on == c.path.reports.Load() || !c.info.ErrorQueue {
		return nil
	}
	if !on {
		c.errorTaken() // switching it off empties the kernel's queue
		c.lookAtReports()
		return nil
	}
	return onFD(c.rc, func(fd int) error { return c.path.setReports(fd, true) })
}

// endReports switches the error queue off that nobody wants any more, and says
// whether something is left to tell. What has come since it was found empty would
// be thrown away with that; what comes next is not told either.
func (c *Conn) endReports() (left bool) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.path.unwanted.Swap(false) && c.path.reports.Load() {
		_ = onFD(c.rc, func(fd int) error {
			c.path.queue.take(c, fd)
			return c.path.setReports(fd, false)
		})
	}
	return c.path.queue.count() > 0
}

func (c *Conn) currentInfo() socket.Info {
	info := c.info
	info.Segments, info.Batch = c.Segments(), maxBatch
	return info
}

// Segments implements socket.Socket.
func (c *Conn) Segments() int { return int(c.path.limits.segments.Load()) }

// Serve implements socket.Socket.
//
// Everything happens inside RawConn.Read: the poller is asked once, and the
// function it calls when the socket is readable reads and dispatches until
// nothing is left, without leaving. So no wake-up is missed (epoll is
// edge-triggered, and RawConn.Read would begin by forgetting an edge), and a
// datagram costs one system call, not the second one that only says EAGAIN.
func (c *Conn) Serve(sink socket.Sink) error {
	r := receiver{conn: c, sink: sink, slots: minBatch, busy: busyPoll{now: time.Now, luck: -noLuck}}
	defer r.giveBack()
	step := r.step
	for {
		err := c.rc.Read(step)
		r.giveBack()
		switch {
		case r.ended:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded), err == nil:
			// Cleared first: a Wake from now on is seen by the next wait.
			c.path.woken.Store(false)
			c.uc.SetReadDeadline(time.Time{})
			if c.path.reported.Swap(false) {
				r.reports = true
			}
			switch sink.Woken() {
			case socket.Stop:
				return nil
			case socket.Drain:
				return c.drain(&r)
			case socket.Soon:
				r.poll()
				if !r.ended {
					c.Wake()
				}
			default:
				if r.reports {
					r.poll()
				}
				if !r.reports && c.path.unwanted.Load() {
					if r.reports = c.endReports(); r.reports {
						r.poll()
					}
				}
			}
		case Classify(err) == Closed:
			return unwrapOp(err)
		default:
			// The poller refuses to wait after an event that was nothing but an error
			// (a full send buffer and an ICMP message; runtime/netpoll.go, eventErr),
			// until the next event, of which it tells nobody. Reading works all the same.
			if r.poll(); !r.ended {
				time.Sleep(unpollable)
			}
		}
		if r.ended {
			return nil
		}
	}
}

// unpollable is how long a reader sleeps that the poller does not let wait.
const unpollable = time.Millisecond

// drain lets nothing in any more and takes what is queued. Where a filter is locked
// there is an end all the same: what the buffer may have held.
func (c *Conn) drain(r *receiver) error {
	r.budget = math.MaxInt
	_ = onFD(c.rc, func(fd int) error {
		if c.refuseAll(fd) != nil {
			r.budget, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
		if c.path.reports.Load() {
			c.path.queue.take(c, fd)
			r.owed = c.path.queue.count()
		}
		return nil
	})
	r.draining, r.reports = true, r.reports || r.owed > 0
	r.poll()
	return nil
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// recvmmsg and sendmmsg return how many messages the kernel took, or an errno.
func recvmmsg(fd uintptr, hs []mmsghdr) (int, syscall.Errno) { return mmsg(unix.SYS_RECVMMSG, fd, hs) }

// One message goes by sendmsg, which has less to do for it.
func sendmmsg(fd uintptr, hs []mmsghdr) (int, syscall.Errno) {
	if len(hs) > 1 {
		return mmsg(unix.SYS_SENDMMSG, fd, hs)
	}
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&hs[0].hdr)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, errno
	}
	hs[0].n = uint32(n)
	return 1, 0
}

// What is read or sent at most without telling the scheduler. None of these calls
// waits, and so little is a matter of microseconds: to let another thread have the
// processor meanwhile costs more than the call. Where there is only one processor
// (GOMAXPROCS is 1) the runtime even takes it away from a program that makes many
// short calls, again and again. Until such a call returns the garbage collector
// may have to wait for it; on loopback a send does the receiver's part too, 50 to
// 110 µs for a train.
const (
	maxRaw      = 8         // messages
	maxRawBytes = 128 << 10 // sent: trains beyond it go with another call
)

func mmsg(call, fd uintptr, hs []mmsghdr) (int, syscall.Errno) {
	// Two calls, not a function in a variable: only in the arguments of a call is the
	// pointer known as one to package unsafe's rule 4.
	if len(hs) <= maxRaw {
		n, _, errno := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&hs[0])), uintptr(len(hs)), unix.MSG_DONTWAIT, 0, 0)
		return int(n), errno
	}
	n, _, errno := unix.Syscall6(call, fd, uintptr(unsafe.Pointer(&hs[0])), uintptr(len(hs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
