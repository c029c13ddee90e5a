//go:build !udpbasic

package sys

import (
	"bytes"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// reportQueue has the ICMP messages that were taken off the socket's error queue and not yet
// reported to the Sink, in order.
//
// The kernel's queue shares the receive buffer. If that is full, the kernel drops messages
// without counting them (sock_queue_err_skb in net/core/skbuff.c of Linux 6.18). A sender on
// this host fills the queue faster than the Sink takes reports. So every call that meets the
// error of an entry empties the queue, sends too.
type reportQueue struct {
	taking sync.Mutex // held while the error queue is emptied, to keep the order

	mu       sync.Mutex // guards the fields below; not held during system calls
	waiting  []socket.Report
	next     int  // of waiting
	size     int  // bytes of waiting
	attended bool // the reader looks without being woken
	missed   bool // the reader found taking locked
	closed   bool
	lost     uint64
	taken    uint64 // entries taken so far, including lost ones
}

const (
	// maxReports bounds the waiting messages, in bytes. It has room for more than 10,000 with
	// 1,184 bytes of payload, the most that ICMPv6 quotes.
	maxReports = 16 << 20
	// reportCost is the memory of a message besides its payload.
	reportCost = 128
	// errControl is enough for the control messages of an entry, even if the program has
	// enabled more through SyscallConn.
	errControl = 1024
	// takenAtOnce bounds how many entries a call takes before it does its own work.
	takenAtOnce = 1024
)

// take empties the error queue. It returns true if the reader has to be woken to report the
// entries.
func (q *reportQueue) take(c *Conn, fd int) (wake bool) {
	q.taking.Lock()
	return q.leave(c, fd, q.takeAll(c, fd))
}

// leave unlocks taking for take. A message that arrived after the error queue was found empty
// has woken the reader, which may have found taking locked and gone back to waiting. In that
// case leave looks once more.
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

// hasMissed reports whether the reader found taking locked since the last call.
func (q *reportQueue) hasMissed() (missed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	missed, q.missed = q.missed, false
	return missed
}

// attend is take for the reader. If a sender holds taking, attend does not wait for it, since
// reader and sender would then sleep in turns, for each datagram. The sender wakes the reader
// for entries that arrive after pop has found nothing.
func (q *reportQueue) attend(c *Conn, fd int) (all bool) {
	q.mu.Lock()
	q.attended = true
	q.mu.Unlock()
	if !q.taking.TryLock() {
		q.mu.Lock()
		q.missed = true
		q.mu.Unlock()
		if !q.taking.TryLock() { // its holder will see missed
			return true
		}
	}
	defer q.taking.Unlock()
	return q.takeAll(c, fd)
}

// takeAll takes all entries; taking must be held.
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
			return true // EAGAIN; the next read returns any other error
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
		default: // from this host itself: the send has returned it
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

// pop removes the oldest message. If there is none, the reader has to be woken for the next.
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

// close counts the messages that will not be reported any more.
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

// count returns how many messages wait.
func (q *reportQueue) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.left()
}

// entries returns how many were taken so far.
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

// closeReports is called by Close, before the descriptor is closed.
func (c *Conn) closeReports() {
	if c.info.ErrorQueue {
		_ = onFD(c.rc, func(fd int) error { c.path.queue.close(c, fd); return nil })
	}
}

// errorTaken is called after a send returned the error of an ICMP message. The send has taken
// that error, and with it the edge that would have woken the reader.
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

// lookAtReports wakes the reader to report them.
func (c *Conn) lookAtReports() {
	c.path.reportsWaiting.Store(true)
	c.Wake()
}

// reportsAtOnce bounds the messages reported between two reads.
const reportsAtOnce = 16

// tellReports reports to the Sink. r.reports stays set while there may be more.
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

// ErrorPending implements socket.Socket. POLLERR is set while an error is pending or the error
// queue is not empty. Taking an entry off the queue makes the error of the next one pending.
// Messages that wait for the Sink count, too: one of them may have made a send fail.
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
