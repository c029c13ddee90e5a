//go:build !udpbasic

package sys

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// packetPath is the state of Linux's packet path, which moves many datagrams with one system
// call. Receiving is in recv_linux.go and errqueue_linux.go, sending in send_linux.go.
type packetPath struct {
	family         socket.Family
	busyPoll       bool        // Options.BusyPoll
	peerErrors     bool        // the error queue is on while unconnected too
	reports        atomic.Bool // the error queue is on
	mute           atomic.Bool // it could not be enabled for the peer
	queue          reportQueue // entries taken off it
	stamps         bool        // it has transmit timestamps, even if it is off
	unwanted       atomic.Bool // it should be disabled once it is empty
	reportsWaiting atomic.Bool // the reader should look for reports
	woken          atomic.Bool // a Wake that has not reached Sink.Woken yet

	peer4     atomic.Bool // the peer has an IPv4 address
	connected atomic.Bool // there is a peer
	peerMany  atomic.Bool // it may be more than one receiver
	broadcast bool        // Options.Broadcast
	sendmmsg  func(fd uintptr, hs []mmsghdr) (int, syscall.Errno)
	recvmmsg  func(fd uintptr, hs []mmsghdr, raw bool) (int, syscall.Errno)
	single    atomic.Bool // recvmmsg or sendmmsg is rejected: one message a call
	partial   bool        // recvmmsg may stop before the queue is empty
	limits    limits      // of segmented sends
	freeing   sync.Mutex  // held while IPV6_FREEBIND is set for one send
	gro       gro

	space atomic.Int32 // for the control messages of a packet, bytes
}

func (p *packetPath) setup(fd int, v6 bool, o socket.Options, info *socket.Info) error {
	p.family, p.peerErrors, p.busyPoll = info.Family, o.PeerErrors, o.BusyPoll
	p.broadcast = o.Broadcast
	p.sendmmsg, p.recvmmsg = sendmmsg, recvmmsg
	// On a socket of both families, IPv4 datagrams need the options of IPv4.
	ecn4 := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1) == nil
	info.ECN = ecn4 || info.Family == socket.IPv6
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
	if v6 {
		info.ECN = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1) == nil && info.ECN
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	}
	p.space.Store(cmsg.Space)
	p.limits.segments.Store(1)
	p.partial = emulated()
	if !o.NoOffload && !(p.partial && bigEndian) {
		p.offload(fd, info)
	}
	if o.TransmitTimestamps { // one for each datagram
		p.limits.segments.Store(1)
	}
	if o.PeerErrors {
		if err := p.setReports(fd, v6, true); err != nil {
			return fmt.Errorf("PeerErrors: %w: %w", err, errors.ErrUnsupported)
		}
		info.ErrorQueue = true
		return nil
	}
	// Left off until there is a peer.
	info.ErrorQueue = (p.family == socket.IPv6 || canReport.known(func() bool { return hasOption(fd, unix.IPPROTO_IP, unix.IP_RECVERR) })) &&
		(!v6 || canReport6.known(func() bool { return hasOption(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR) }))
	return nil
}

// offload finds out whether the kernel has UDP_GRO and UDP_SEGMENT.
func (p *packetPath) offload(fd int, info *socket.Info) {
	if canCoalesce.known(func() bool { return hasOption(fd, unix.SOL_UDP, unix.UDP_GRO) }) { // Linux 5.0
		info.GRO = true
		p.gro.state.Store(groWanted)
	}
	// Reading the option does not enable it for every send, as setting it would.
	if canSegment.known(func() bool { return hasOption(fd, unix.SOL_UDP, unix.UDP_SEGMENT) }) { // Linux 4.18
		p.limits.segments.Store(firstSegments)
	}
}

// setReports enables or disables the error queue, for both families of the socket.
func (p *packetPath) setReports(fd int, v6, on bool) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, toInt(on))
	if p.family == socket.IPv6 {
		err = nil
	}
	if v6 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, toInt(on)))
	}
	if err != nil {
		return sysErr("setsockopt", err)
	}
	p.reports.Store(on)
	return nil
}

// wake stops a reader that never waits, because there is always more to read.
func (p *packetPath) wake() { p.woken.Store(true) }

func (c *Conn) peerChanged(peer netip.AddrPort) error {
	c.path.peer4.Store(peer.Addr().Is4())
	c.path.connected.Store(peer.IsValid())
	c.path.peerMany.Store(c.many(peer.Addr()))
	c.path.limits.note(netip.Addr{}, 0, time.Time{}) // was the old peer's
	on := peer.IsValid() && !c.pull.on || c.path.peerErrors
	c.path.unwanted.Store(!on)
	if on == c.path.reports.Load() || !c.info.ErrorQueue {
		return nil
	}
	if !on {
		c.errorTaken() // disabling it empties the kernel's queue
		c.lookAtReports()
		return nil
	}
	// A sandbox may allow to read the option only.
	c.path.mute.Store(onFD(c.rc, func(fd int) error {
		err := c.path.setReports(fd, c.inet6, true)
		if err != nil {
			_ = c.path.setReports(fd, c.inet6, false) // of either family
		}
		return err
	}) != nil)
	return nil
}

// endReports disables an error queue that is not wanted any more, and reports whether messages
// still wait. A message that arrives between the last look and disabling is lost, as later ones
// are.
func (c *Conn) endReports() (left bool) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.path.unwanted.Swap(false) && c.path.reports.Load() {
		_ = onFD(c.rc, func(fd int) error {
			c.path.queue.take(c, fd)
			return c.path.setReports(fd, c.inet6, false)
		})
	}
	return c.path.queue.count() > 0
}

func (c *Conn) currentInfo() socket.Info {
	info := c.info
	info.PortKept = c.portKept.Load()
	info.Segments = c.Segments()
	info.GRO = info.GRO && c.path.gro.state.Load() != groMissing
	info.ErrorQueue = info.ErrorQueue && !c.path.mute.Load()
	return info
}

// batch is for Limits. A socket on which no call was rejected yet asks the kernel.
func (c *Conn) batch() int {
	if c.path.single.Load() || rejected(unix.SYS_RECVMMSG) || rejected(unix.SYS_SENDMMSG) {
		return 1
	}
	return maxBatch
}

// Segments implements socket.Socket.
func (c *Conn) Segments() int { return int(c.path.limits.segments.Load()) }

// Serve implements socket.Socket.
//
// Everything happens inside one RawConn.Read: its function reads and dispatches until nothing
// is queued, and only then lets RawConn.Read wait. So no wake-up is missed, although epoll is
// edge-triggered and each RawConn.Read begins by discarding an edge. And a datagram costs one
// system call, not a second one that only returns EAGAIN.
func (c *Conn) Serve(sink socket.Sink) error {
	r := newReceiver(c, sink)
	defer r.giveBack()
	for !r.ended {
		err := c.rc.Read(r.next)
		r.giveBack()
		if !r.ended {
			r.returned(err)
		}
	}
	return r.err
}

func newReceiver(c *Conn, sink socket.Sink) *receiver {
	c.path.stamps = c.wantsStamps
	if c.ownOptions {
		c.path.moreSpace(cmsg.Space)
		_ = onFD(c.rc, func(fd int) error {
			stamps, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING)
			c.path.stamps = stamps&transmitStamps != 0
			return nil
		})
	}
	r := &receiver{conn: c, sink: sink, slots: minBatch}
	r.busy = busyPoll{on: c.path.busyPoll, now: time.Now, luck: -noLuck}
	r.next = r.step
	return r
}

// returned is called after RawConn.Read. It is not a part of Serve, because every waiting reader
// has the stack frame of Serve.
func (r *receiver) returned(err error) {
	c := r.conn
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), err == nil:
		// Cleared first, so that the next wait notices a later Wake.
		c.path.woken.Store(false)
		c.uc.SetReadDeadline(time.Time{})
		if lost := c.lost.Load(); lost != nil {
			r.ended, r.err = true, *lost
			return
		}
		if c.path.reportsWaiting.Swap(false) {
			r.reports = true
		}
		switch r.sink.Woken() {
		case socket.Stop:
			r.ended = true
		case socket.Drain:
			r.drain()
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
		r.ended, r.err = true, unwrapOp(err)
	default:
		// After an event that was only an error (a full send buffer and an ICMP message), the
		// poller refuses to wait until the next event, which it does not report
		// (runtime/netpoll.go, eventErr). Reading still works.
		if r.poll(); !r.ended {
			time.Sleep(unpollable)
		}
	}
}

// unpollable is how long a reader sleeps if the poller refuses to wait.
const unpollable = time.Millisecond

// drain stops the intake and reads what is queued. If the intake can't be stopped, because a
// filter is locked, it ends after as many bytes as the buffer may have held.
func (r *receiver) drain() {
	c := r.conn
	r.budget = math.MaxInt
	_ = onFD(c.rc, func(fd int) error {
		r.budget = c.stopIntake(fd, false)
		if c.path.reports.Load() {
			c.path.queue.take(c, fd)
			r.owed = c.path.queue.count()
		}
		return nil
	})
	r.draining, r.reports = true, r.reports || r.owed > 0
	r.poll()
	r.ended = true
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// recvmmsg and sendmmsg return how many messages the kernel moved, or an errno. For one message
// they use recvmsg or sendmsg, which are faster for it and which every kernel and sandbox
// allows. They never wait.
func recvmmsg(fd uintptr, hs []mmsghdr, raw bool) (int, syscall.Errno) {
	if raw && len(hs) > 1 {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&hs[0])), uintptr(len(hs)), unix.MSG_DONTWAIT, 0, 0)
		return int(n), errno
	}
	if len(hs) > 1 {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&hs[0])), uintptr(len(hs)), unix.MSG_DONTWAIT, 0, 0)
		return int(n), errno
	}
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&hs[0].hdr)), unix.MSG_DONTWAIT)
	hs[0].n = uint32(n)
	return 1, errno
}

// Sends up to these bounds are raw system calls, of which Go's scheduler does not know. It would
// otherwise take the processor (P) from a call of more than 20 µs, such as a segmented send, and
// the caller would have to get one again, which made sends 7 to 13 % slower. The garbage
// collector may have to wait until a raw call returns: on loopback, where a send includes the
// receiver's part, up to 50 µs.
//
// Reads of short messages that have piled up are raw, too (8 % faster). Other reads are faster
// with the scheduler's help, which lets the sender run.
const (
	maxRaw      = 8        // messages
	maxRawBytes = 64 << 10 // more than that is sent by another call
)

func sendmmsg(fd uintptr, hs []mmsghdr) (int, syscall.Errno) {
	var (
		n     uintptr
		errno syscall.Errno
	)
	switch {
	case len(hs) == 1:
		if n, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&hs[0].hdr)), unix.MSG_DONTWAIT); errno == 0 {
			hs[0].n = uint32(n)
			n = 1
		}
	case len(hs) <= maxRaw:
		n, _, errno = unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&hs[0])), uintptr(len(hs)), unix.MSG_DONTWAIT, 0, 0)
	default:
		n, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&hs[0])), uintptr(len(hs)), unix.MSG_DONTWAIT, 0, 0)
	}
	return int(n), errno
}

// rejected reports whether the kernel, or a filter in front of it (seccomp(2)), rejects every
// recvmmsg or sendmmsg. If the call is allowed, it fails with EBADF on an invalid descriptor; in
// QEMU's emulator of a processor it succeeds (do_sendrecvmmsg in linux-user/syscall.c, 7.2).
func rejected(call uintptr) bool {
	errno := onNoDescriptor(call)
	return errno != 0 && errno != unix.EBADF
}
