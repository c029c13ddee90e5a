//go:build !udpbasic

package sys

import (
	"bytes"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// The number of messages of a read: minBatch on a quiet socket, doubled after each
// read that filled its slots, up to maxBatch messages or maxRead bytes. With two slots,
// an empty second one shows that the queue is empty. If recvmmsg is rejected, a read
// takes one message.
const (
	minBatch = 2
	maxBatch = 64
	maxRead  = 256 << 10
	// Short messages that have piled up are read in raw calls, which take at most so many
	// messages of less than so many bytes: see recvmmsg.
	rawBatch = 16
	rawBytes = 2 << 10
)

// receiver is the state of one Serve.
type receiver struct {
	conn    *Conn
	sink    socket.Sink
	next    func(fd uintptr) bool // step, made once
	slots   int
	raw     bool   // the next read is a raw call
	batch   *batch // nil while waiting: an idle socket holds no buffers
	reports bool   // the error queue has to be read
	// draining: a Wake does not end the reading of what is queued.
	draining bool
	owed     int   // reports that waited when draining began
	budget   int   // bytes that may have been queued then
	ended    bool  // the Sink has returned false
	err      error // with ended: why the socket can't continue
	busy     busyPoll
}

// batch is the memory of one recvmmsg.
type batch struct {
	hdrs    [maxBatch]mmsghdr
	iovs    [maxBatch]unix.Iovec
	names   [maxBatch]unix.RawSockaddrInet6
	control [maxBatch][]byte
	space   [maxBatch][cmsg.Space]byte // control, unless a socket needs more
	bufs    [maxBatch]*buffer.Buffer
	packets [maxBatch]socket.Packet
	ready   int // slots that are set up
}

var batchPool = sync.Pool{New: func() any { return new(batch) }}

// prepare sets up slots for n messages, each with space bytes for control messages.
func (b *batch) prepare(n, space int) {
	for ; b.ready < n; b.ready++ {
		b.bufs[b.ready] = buffer.Get()
		b.reset(b.ready)
	}
	if space == cmsg.Space {
		return
	}
	for i := range n {
		if len(b.control[i]) < space {
			b.control[i] = make([]byte, space)
			b.reset(i)
		}
	}
}

// moreSpace is called after a read whose control messages did not fit into had bytes.
func (p *packetPath) moreSpace(had int) {
	p.space.CompareAndSwap(int32(had), int32(moreSpace(had)))
}

func (b *batch) reset(i int) {
	h := &b.hdrs[i].hdr
	b.iovs[i].Base = &b.bufs[i].B[0]
	b.iovs[i].SetLen(buffer.Size)
	h.Iov = &b.iovs[i]
	h.SetIovlen(1)
	h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
	h.Namelen = uint32(unsafe.Sizeof(b.names[i]))
	if b.control[i] == nil {
		b.control[i] = b.space[i][:]
	}
	h.Control = &b.control[i][0]
	h.SetControllen(len(b.control[i]))
}

// name returns the sender of message i. It is cut to its length, since an IPv4 address is
// followed by the remains of an earlier read.
func (b *batch) name(i int) []byte {
	return (*[unix.SizeofSockaddrInet6]byte)(unsafe.Pointer(&b.names[i]))[:b.hdrs[i].hdr.Namelen]
}

// renew makes the first n slots ready again. It replaces buffers that were retained.
func (b *batch) renew(n int) {
	for i := range n {
		b.packets[i] = socket.Packet{}
		if !b.bufs[i].Recycle() {
			b.bufs[i].Release(1)
			b.bufs[i] = buffer.Get()
		}
		b.reset(i)
	}
}

// giveBack returns the batch and its buffers to their pools.
func (r *receiver) giveBack() {
	b := r.batch
	if b == nil {
		return
	}
	r.batch = nil
	for i := range b.ready {
		b.bufs[i].Release(1)
		b.bufs[i] = nil
		if len(b.control[i]) > ownSpace {
			b.control[i] = nil
		}
	}
	clear(b.iovs[:b.ready]) // or a batch that is next used with fewer slots would keep the memory of the others
	b.ready = 0
	batchPool.Put(b)
}

// poll reads what is queued, without waiting.
func (r *receiver) poll() {
	r.conn.rc.Control(func(fd uintptr) { r.step(fd) })
	r.giveBack()
}

// step reads and dispatches until nothing is left. It returns true to leave
// RawConn.Read, and false to wait for more.
func (r *receiver) step(fd uintptr) bool {
	rounds, faults := 0, 0
	r.reports = r.reports || r.conn.mayHoldStamps()
	for first := true; ; first = false {
		// At least one read each time, or wake-ups would starve reading.
		if !first && !r.draining && r.conn.path.woken.Load() {
			return true
		}
		if r.reports {
			// One round, then datagrams: neither starves the other.
			if r.tellReports(int(fd)); r.ended {
				return true
			}
		}
		queue := r.conn.path.reports.Load()
		n, errno := r.read(fd)
		for tries := 1; tries < maxErrors && r.reported(errno); tries++ {
			n, errno = r.read(fd) // the failed call has taken the error
		}
		switch errno {
		case 0:
		case unix.EAGAIN:
			// While draining, a Handler that sends from Refused may cause reports without end.
			if rounds++; r.reports && (!r.draining || r.owed > 0 || rounds < maxErrors) {
				continue
			}
			if !r.draining && r.busy.again() {
				continue
			}
			r.adapt(0)
			r.giveBack()
			return false
		case unix.EINTR:
			continue
		default:
			// Likewise without the error queue: each send may cause the next error.
			if faults++; r.draining && faults > maxErrors && !r.conn.path.reports.Load() {
				r.conn.path.queue.lose()
				if faults == maxDrainFaults {
					r.ended = true
					return true
				}
				continue
			}
			if r.fault(errno); r.ended {
				return true
			}
			continue
		}
		r.busy.found()
		if !r.dispatch(n) {
			r.ended = true
			return true
		}
		// Fewer messages than slots: the queue was empty, and a datagram that arrived since
		// has made an edge. With the error queue on, an error may have stopped recvmmsg
		// instead. The next call returns it; it makes no new edge.
		if n < r.slots && !queue && !r.reports && !r.conn.path.partial {
			if r.busy.again() {
				continue
			}
			r.adapt(n)
			r.giveBack()
			return false
		}
		r.adapt(n)
	}
}

// read fills up to r.slots slots.
func (r *receiver) read(fd uintptr) (int, syscall.Errno) {
	if r.batch == nil {
		r.batch = batchPool.Get().(*batch)
	}
	for {
		if r.conn.path.single.Load() {
			r.slots = 1
			r.conn.path.coalesce(r.conn.rc) // the only other way to read several datagrams
		}
		r.batch.prepare(r.slots, int(r.conn.path.space.Load()))
		n, errno := r.conn.path.recvmmsg(fd, r.batch.hdrs[:r.slots], r.raw)
		if errno == 0 || errno == unix.EAGAIN || errno == unix.EINTR || r.slots == 1 || !rejected(unix.SYS_RECVMMSG) {
			return n, errno
		}
		r.conn.path.single.Store(true)
	}
}

// adapt chooses how many messages the next read takes.
func (r *receiver) adapt(n int) {
	switch bytes := 0; {
	case r.conn.path.single.Load():
	case n == r.slots:
		for i := range n {
			bytes += int(r.batch.hdrs[i].n)
		}
		switch r.raw = false; {
		case bytes < n*rawBytes:
			r.slots = min(2*r.slots, rawBatch)
			r.raw = r.slots == rawBatch
		case bytes < maxRead/2:
			r.slots = min(2*r.slots, maxBatch)
		}
	case n < r.slots/2:
		r.slots = max(r.slots/2, minBatch)
		r.raw = false
	}
}

// dispatch passes n messages to the Sink.
func (r *receiver) dispatch(n int) bool {
	b := r.batch
	r.unpack(n)
	more := r.sink.Packets(b.packets[:n])
	if r.draining {
		for i := range n {
			r.budget -= int(b.hdrs[i].n) + minSkb
		}
		more = more && r.budget > 0
	}
	b.renew(n)
	return more
}

// unpack makes packets of n messages.
func (r *receiver) unpack(n int) {
	b := r.batch
	r.conn.path.look(r.conn.rc, b, n)
	for i := range n {
		h := &b.hdrs[i]
		m := cmsg.Received{To: r.conn.only}
		if size := int(h.hdr.Controllen); size > 0 {
			cmsg.Parse(b.control[i][:size], &m)
		}
		// Field by field: a literal would be on the stack first, and a reader's stack should
		// not grow beyond the smallest one.
		p := &b.packets[i]
		p.Data, p.Buf, p.Segment = b.bufs[i].B[:h.n], b.bufs[i], m.Segment
		p.From = r.conn.addrPort(&b.names[i], int(h.hdr.Namelen))
		p.To = netip.AddrPortFrom(r.conn.zoned(m.To, m.IfIndex), m.Port)
		p.Own, p.IfIndex, p.TTL, p.TrafficClass, p.Time = m.Own, m.IfIndex, m.TTL, m.TrafficClass, m.Time
		p.Truncated = h.hdr.Flags&unix.MSG_TRUNC != 0
		if r.conn.keeps {
			p.Control = bytes.Clone(b.control[i][:h.hdr.Controllen])
		}
		if cmsg.Truncated(int(h.hdr.Flags)) {
			p.ControlTruncated = incomplete(&m)
			r.conn.path.moreSpace(len(b.control[i]))
		}
	}
}

// incomplete reports whether a packet whose control messages did not all fit lacks one that the
// toolkit enabled, such as the length of its segments or the source address for a reply. Of
// these Linux 6.18 appends the traffic class last. If it is there, only messages that the
// program enabled are missing.
func incomplete(m *cmsg.Received) bool { return !m.HasClass }

// maxErrors is how often one round reads again after an ICMP message. With one, a Handler that
// sends from Refused to a dead peer, and so has caused the next message when it returns, would
// keep the reader from datagrams for ever.
const maxErrors = 4

// maxDrainFaults ends a drain whose reads keep failing, because a Handler keeps sending. Close
// counts the datagrams that are still queued.
const maxDrainFaults = 1000

// reported reports whether the error of a read comes from an ICMP message, which the error
// queue has in full.
func (r *receiver) reported(errno syscall.Errno) bool {
	if errno == 0 || !r.conn.path.reports.Load() {
		return false
	}
	switch Classify(errno) {
	case Report, Unreachable, TooLarge:
		r.reports = true
		return true
	case Other:
		// Any errno comes from an ICMP message, if there is one.
		q := &r.conn.path.queue
		before := q.entries()
		_ = onFD(r.conn.rc, func(fd int) error { q.attend(r.conn, fd); return nil })
		r.reports = true
		return q.entries() != before
	}
	return false
}

// fault reports an error of reading to the Sink.
func (r *receiver) fault(errno syscall.Errno) {
	if errno == unix.ECONNABORTED {
		r.err = r.conn.destroyed()
		r.ended = r.err != nil
		return
	}
	if !r.reported(errno) && !r.sink.Fault(sysErr("recvmmsg", errno)) {
		r.ended = true
	}
}
