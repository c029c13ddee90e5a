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
		case Report, Unreachable, TooLarge:
			c.errorTaken()
		}
	}
	return err
}

func (c *Conn) sendBatch(first *socket.Message, n int) (sent int, err error) {
	ms := unsafe.Slice(first, n)
	s := senderPool.Get().(*sender)
	s.conn = c
	defer s.giveBack()
	var (
		next    position
		before  *limits // of trains, when a train was refused
		doubted bool
	)
	for next.message < n {
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
		if s.errno == unix.EMSGSIZE && !doubted && c.path.reports.Load() {
			doubted = true // an older datagram's "packet too big", perhaps
			c.errorTaken()
			continue
		}
		if s.count[s.sent] > 1 {
			was := c.path.limits()
			if c.path.degrade(s.errno, s.count[s.sent], s.size[s.sent]) {
				if before == nil {
					before = &was
				}
				continue // nothing of that train has left
			}
		} else if before != nil {
			c.path.restore(*before) // alone it is refused too: it was not the train
		}
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

// limits is how long trains and their datagrams may be.
type limits struct{ segments, longest int32 }

func (p *packetPath) limits() limits {
	return limits{p.segments.Load(), p.longest.Load()}
}

func (p *packetPath) restore(l limits) {
	p.segments.Store(l.segments)
	p.longest.Store(l.longest)
}

// degrade lowers what trains may be after one was refused, so that the same
// datagrams leave another way at once. It returns false when the error has
// nothing to do with trains.
func (p *packetPath) degrade(errno syscall.Errno, count, size int) bool {
	switch errno {
	case unix.EIO, unix.EOPNOTSUPP:
		// The device has no checksum offload; udp(7) names EIO for it.
		p.segments.Store(1)
	case unix.EINVAL, unix.EMSGSIZE:
		// Too many segments for this kernel, or segments that don't fit the MTU: those
		// leave as fragments, one by one.
		if count > oldSegments {
			p.segments.Store(oldSegments)
		} else {
			p.longest.Store(int32(size - 1))
		}
	default:
		return false
	}
	return true
}

// oldSegments is UDP_MAX_SEGMENTS before Linux 6.9.
const oldSegments = 64
