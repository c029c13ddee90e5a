//go:build !udpbasic

package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// Send implements socket.Socket.
func (c *Conn) Send(m socket.Message) error {
	if c.alone.Load() {
		m = c.withSource(m)
	}
	var err error
	switch {
	case m.From.IsValid() || m.ECN != 0 || m.IfIndex != 0 || m.To.Addr().Zone() != "":
		_, err = c.sendBatch(&m, 1)
	case m.To.IsValid():
		_, err = c.uc.WriteToUDPAddrPort(m.Data, m.To)
	default:
		_, err = c.uc.Write(m.Data)
	}
	if err != nil {
		return c.sendErr(err)
	}
	return nil
}

// SendBatch implements socket.Socket.
func (c *Conn) SendBatch(ms []socket.Message) (int, error) {
	if len(ms) == 0 {
		return 0, nil
	}
	if c.alone.Load() {
		ms = c.withSources(ms)
	}
	n, err := c.sendBatch(&ms[0], len(ms))
	if err != nil {
		err = c.sendErr(err)
	}
	return n, err
}

// sendErr takes ICMP messages off the error queue when a send has met the error
// of one.
func (c *Conn) sendErr(err error) error {
	err = c.sendFailed(err)
	if c.path.reports.Load() {
		switch Classify(err) {
		case Report, Unreachable, TooLarge, Other:
			c.errorTaken()
		}
	}
	return err
}

// maxDoubted is how often a batch is gone on with, at most, after errors that may
// be those of ICMP messages.
const maxDoubted = 64

func (c *Conn) sendBatch(first *socket.Message, n int) (sent int, err error) {
	ms := unsafe.Slice(first, n)
	s := senderPool.Get().(*sender)
	s.conn = c
	defer s.giveBack()
	var (
		next    position
		refused refusal
		doubted int
	)
	for next.message < n {
		known := c.path.queue.entries()
		s.pack(ms, next)
		werr := c.rc.Write(s.step)
		done := 0
		for i := range s.sent {
			done += s.count[i]
		}
		sent += done
		next.advance(ms, done)
		if werr != nil {
			return sent, werr
		}
		if s.errno == 0 {
			continue
		}
		if concernsTrains(s.errno) && doubted < maxDoubted && c.path.reports.Load() {
			// An older datagram's "packet too big" or "source route failed", perhaps.
			if c.errorTaken(); doubted == 0 || c.path.queue.entries() != known {
				doubted++
				continue
			}
		}
		to := ms[next.message].To.Addr()
		if s.count[s.sent] > 1 && refused.train(&c.path.limits, s.errno, next, to, s.count[s.sent], s.size[s.sent]) {
			continue // nothing of it has left
		}
		refused.single(&c.path.limits, next, to)
		return sent, sysErr("sendmmsg", s.errno)
	}
	return sent, nil
}

// position is the next datagram of a batch: a message, and where in its train.
type position struct{ message, offset int }

// advance goes n datagrams on.
func (p *position) advance(ms []socket.Message, n int) {
	for n > 0 {
		m, left := &ms[p.message], 1
		if m.Segment > 0 {
			left = (len(m.Data) - p.offset + m.Segment - 1) / m.Segment
		}
		if n < left {
			p.offset += n * m.Segment
			return
		}
		n -= left
		p.message, p.offset = p.message+1, 0
	}
}

// concernsTrains says whether a train may be why a send has failed.
func concernsTrains(errno syscall.Errno) bool {
	switch errno {
	case unix.EIO, unix.EOPNOTSUPP, unix.EINVAL, unix.EMSGSIZE:
		return true
	}
	return false
}
