//go:build !udpbasic

package sys

import (
	"bytes"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// reportQueue holds the ICMP messages that have been taken off the socket's error
// queue and that the Sink has not been told yet, in order.
//
// The kernel keeps its queue within the receive buffer, drops what is over that,
// and counts it nowhere (sock_queue_err_skb in net/core/skbuff.c of Linux 6.18).
// A sender on this host fills it faster than a Sink can be told, so it is emptied
// by whoever meets the error of an entry, senders too.
type reportQueue struct {
	taking sync.Mutex // held while the error queue is emptied, so that the order stays

	mu       sync.Mutex // guards what follows; nobody makes a system call with it
	waiting  []socket.Report
	next     int  // of waiting
	size     int  // bytes that waiting holds
	attended bool // the reader will look without being woken
	missed   bool // the reader has found taking locked
	closed   bool
	lost     uint64
	taken    uint64 // entries so far, the lost ones too
}

const (
	// maxReports bounds what may wait, bytes: more than 10,000 messages of the
	// 1,184 bytes of payload that ICMPv6 gives back at most.
	maxReports = 16 << 20
	// reportCost is what one holds beside its payload.
	reportCost = 128
	// errControl is enough for the control messages of an entry, also when more
	// have been asked for through SyscallConn.
	errControl = 1024
	// takenAtOnce bounds how long one call is kept from what it was made for.
	takenAtOnce = 1024
)

// take empties the error queue. It returns true when the reader has to be woken
// for what there is.
func (q *reportQueue) take(c *Conn, fd int) (wake bool) {
	q.taking.Lock()
	return q.leave(c, fd, q.takeAll(c, fd))
}

// leave unlocks taking for take. A message may have come after the error queue was
// found empty, which the kernel told the reader only, who then found taking locked:
// so it is looked for once more.
func (q *reportQueue) leave(c *Conn, fd int, all bool) (wake bool) {
	q.taking.Unlock()
	if q.hasMissed() {
		q.taking.Lock()
		all = q.takeAll(c, fd)
		q.taking.Unlock()
		all = !q.hasMissed() && all
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return !all || !q.attended && q.left() > 0
}

// hasMissed says whether the reader has looked in vain since it was last asked.
func (q *reportQueue) hasMissed() (missed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	missed, q.missed = q.missed, false
	return missed
}

// attend is take for the reader, unless a sender is about that, who wakes the
// reader for what comes after pop has found nothing: a reader that waited for
// every datagram's sender would take turns with it, each time asleep.
func (q *reportQueue) attend(c *Conn, fd int) (all bool) {
	q.mu.Lock()
	q.attended = true
	q.mu.Unlock()
	if !q.taking.TryLock() {
		q.mu.Lock()
		q.missed = true
		q.mu.Unlock()
		if !q.taking.TryLock() { // so who has it will see that
			return true
		}
	}
	defer q.taking.Unlock()
	return q.takeAll(c, fd)
}

// takeAll needs taking.
func (q *reportQueue) takeAll(c *Conn, fd int) (all bool) {
	var control [errControl]byte
	return q.takeInto(c, fd, control[:])
}

func (q *reportQueue) takeInto(c *Conn, fd int, control []byte) (all bool) {
	var name unix.RawSockaddrInet6
	b := buffer.Get()
	defer b.Release(1)
	for range takenAtOnce {
		n, from, oobn, flags, errno := recvErrQueue(fd, b.B, control, &name)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return true // EAGAIN; any other is the socket's, and the next read tells it
		}
		var rep socket.Report
		switch {
		case parseReport(control[:oobn], &rep, c.nameOf):
			rep.Peer = c.addrPort(&name, from)
			q.push(rep, b.B[:n])
		case parseStamp(control[:oobn], &rep):
			if c.wantsStamps {
				q.push(rep, nil)
			}
		case flags&unix.MSG_CTRUNC != 0:
			q.lose()
		default: // made by this host itself: the send has told
		}
	}
	return false
}

// lose counts an entry that can't be read.
func (q *reportQueue) lose() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken++
	q.lost++
}

func (q *reportQueue) push(rep socket.Report, payload []byte) {
	rep.Payload = bytes.Clone(payload)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken++
	if q.closed || q.size+len(payload)+reportCost > maxReports {
		if rep.Sent.IsZero() {
			q.lost++
		}
		return
	}
	q.waiting = append(q.waiting, rep)
	q.size += len(payload) + reportCost
}

// pop takes the oldest one out. When there is none the reader has to be woken for
// the next.
func (q *reportQueue) pop() (rep socket.Report, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.left() == 0 {
		q.attended = false
		return rep, false
	}
	rep = q.waiting[q.next]
	q.waiting[q.next] = socket.Report{}
	q.size -= len(rep.Payload) + reportCost
	switch q.next++; {
	case q.next == len(q.waiting):
		q.waiting, q.next = q.waiting[:0], 0
		if cap(q.waiting) > reportsAtOnce {
			q.waiting = nil
		}
	case q.next >= len(q.waiting)/2 && q.next >= reportsAtOnce:
		q.waiting = append(q.waiting[:0], q.waiting[q.next:]...)
		q.next = 0
	}
	return rep, true
}

// close counts those that the Sink will not be told any more.
func (q *reportQueue) close(c *Conn, fd int) {
	q.mu.Lock()
	q.closed = true
	for _, rep := range q.waiting[q.next:] {
		if rep.Sent.IsZero() {
			q.lost++
		}
	}
	q.waiting, q.next, q.size = nil, 0, 0
	q.mu.Unlock()
	q.taking.Lock()
	defer q.taking.Unlock()
	for !q.takeAll(c, fd) {
	}
}

func (q *reportQueue) left() int { return len(q.waiting) - q.next }

// count is how many wait.
func (q *reportQueue) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.left()
}

// entries is how many were taken so far.
func (q *reportQueue) entries() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.taken
}

// LostReports implements socket.Socket.
func (c *Conn) LostReports() uint64 {
	q := &c.path.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// closeReports is for Close, while there still is a descriptor.
func (c *Conn) closeReports() {
	if c.info.ErrorQueue {
		_ = onFD(c.rc, func(fd int) error { c.path.queue.close(c, fd); return nil })
	}
}

// errorTaken is for senders that have met an ICMP message's error, and taken it
// away, and with it the edge that would have woken the reader.
func (c *Conn) errorTaken() {
	if !c.path.reports.Load() {
		return
	}
	wake := false
	_ = onFD(c.rc, func(fd int) error { wake = c.path.queue.take(c, fd); return nil })
	if wake {
		c.lookAtReports()
	}
}

// lookAtReports wakes the reader for them.
func (c *Conn) lookAtReports() {
	c.path.reportsWaiting.Store(true)
	c.Wake()
}

// reportsAtOnce bounds how many the Sink gets between two reads.
const reportsAtOnce = 16

// tellReports tells the Sink. r.reports stays set while there may be more.
func (r *receiver) tellReports(fd int) {
	q := &r.conn.path.queue
	all := q.attend(r.conn, fd)
	for range reportsAtOnce {
		rep, ok := q.pop()
		if !ok {
			r.reports = !all
			return
		}
		r.owed--
		if !r.sink.Reports([]socket.Report{rep}) {
			r.ended = true
			return
		}
	}
}

// ErrorPending implements socket.Socket. POLLERR says that an error is pending or that
// the error queue is not empty; taking an entry off it makes the next one's
// error pending again. Those that wait for the Sink may be why a send has failed.
func (c *Conn) ErrorPending() (yes bool) {
	if !c.path.reports.Load() {
		return false
	}
	if c.path.queue.count() > 0 {
		return true
	}
	c.rc.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		yes = err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
	})
	return yes
}
