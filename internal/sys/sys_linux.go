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

// packetPath is what a socket keeps for Linux's ways to move many datagrams
// with one system call. Receiving is in recv_linux.go and errqueue_linux.go,
// sending in send_linux.go.
type packetPath struct {
	family         socket.Family
	busyPoll       bool        // Options.BusyPoll
	peerErrors     bool        // the error queue is on while unconnected too
	reports        atomic.Bool // the error queue is on
	mute           atomic.Bool // it could not be switched on for the peer
	queue          reportQueue // what was taken off it
	stamps         bool        // transmit timestamps come by it, whether it is on or not
	unwanted       atomic.Bool // it is to be switched off once it is empty
	reportsWaiting atomic.Bool // the reader is to look for reports
	woken          atomic.Bool // a Wake that no Woken has answered

	peer4     atomic.Bool // the peer has an IPv4 address
	connected atomic.Bool // there is a peer
	peerMany  atomic.Bool // it may be more than one receiver
	broadcast bool        // Options.Broadcast
	sendmmsg  func(fd uintptr, hs []mmsghdr) (int, syscall.Errno)
	recvmmsg  func(fd uintptr, hs []mmsghdr, raw bool) (int, syscall.Errno)
	single    atomic.Bool // one of these is rejected: one message a call
	partial   bool        // recvmmsg may stop before the queue is empty
	limits    limits      // of segmented sends
	freeing   sync.Mutex  // held while a send may leave from any address
	gro       gro

	space atomic.Int32 // for the control messages of a packet, bytes
}

func (p *packetPath) setup(fd int, v6 bool, o socket.Options, info *socket.Info) error {
	p.family, p.peerErrors, p.busyPoll = info.Family, o.PeerErrors, o.BusyPoll
	p.broadcast = o.Broadcast
	p.sendmmsg, p.recvmmsg = sendmmsg, recvmmsg
	// IPv4 on a socket of both families has the options of IPv4.
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

// offload switches UDP_GRO and UDP_SEGMENT on, where the kernel has them.
func (p *packetPath) offload(fd int, info *socket.Info) {
	if canCoalesce.known(func() bool { return hasOption(fd, unix.SOL_UDP, unix.UDP_GRO) }) { // Linux 5.0
		info.GRO = true
		p.gro.state.Store(groWanted)
	}
	// Asking does not switch it on for every send, as setting it would.
	if canSegment.known(func() bool { return hasOption(fd, unix.SOL_UDP, unix.UDP_SEGMENT) }) { // Linux 4.18
		p.limits.segments.Store(firstSegments)
	}
}

// setReports switches the error queue for both families of the socket.
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

// wake stops a reader that does not get to waiting, since there is always more.
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
		c.errorTaken() // switching it off empties the kernel's queue
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

// endReports switches the error queue off that nobody wants any more, and says
// whether something is left to tell. What has come since it was found empty would
// be thrown away with that; what comes next is not told either.
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

// batch implements Limits. A socket that has met no rejection yet asks.
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
// Everything happens inside RawConn.Read: the poller is asked once, and the
// function it calls when the socket is readable reads and dispatches until
// nothing is left, without leaving. So no wake-up is missed (epoll is
// edge-triggered, and RawConn.Read would begin by forgetting an edge), and a
// datagram costs one system call, not the second one that only says EAGAIN.
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

// returned goes on after RawConn.Read. It is not a part of Serve, whose stack frame
// every reader has while it waits.
func (r *receiver) returned(err error) {
	c := r.conn
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), err == nil:
		// Cleared first: a Wake from now on is seen by the next wait.
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
		// The poller refuses to wait after an event that was nothing but an error
		// (a full send buffer and an ICMP message; runtime/netpoll.go, eventErr),
		// until the next event, of which it tells nobody. Reading works all the same.
		if r.poll(); !r.ended {
			time.Sleep(unpollable)
		}
	}
}

// unpollable is how long a reader sleeps that the poller does not let wait.
const unpollable = time.Millisecond

// drain lets nothing in any more and takes what is queued. Where a filter is locked
// there is an end all the same: what the buffer may have held.
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

// recvmmsg and sendmmsg return how many messages the kernel took, or an errno. One
// message goes by recvmsg or sendmsg, which have less to do for it and which every
// kernel and sandbox allows. None of them waits.
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

// Sends up to these bounds are made without telling the scheduler. Where it is told,
// a thread that monitors it (sysmon) takes the processor away from a call of more
// than 20 µs, as segmented sends are, and the caller has to get one again: that made
// them 7 to 13 % slower. Until a raw call returns the garbage collector may have to
// wait for it: on loopback, where a send does the receiver's part too, up to 50 µs.
// So are reads of short messages that have piled up (8 % faster). Other reads are faster
// the other way: their caller gives way to the sender.
const (
	maxRaw      = 8        // messages
	maxRawBytes = 64 << 10 // what is beyond it goes with another call
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

// rejected says whether the kernel, or a filter in front of it (seccomp(2)), rejects
// recvmmsg or sendmmsg whatever it is asked to do: a call on no descriptor at all
// fails with EBADF where the call itself is allowed, and does not fail in QEMU's emulator
// of a processor (do_sendrecvmmsg in linux-user/syscall.c, 7.2).
func rejected(call uintptr) bool {
	errno := onNoDescriptor(call)
	return errno != 0 && errno != unix.EBADF
}
