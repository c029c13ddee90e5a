//go:build !udpbasic

package sys

import (
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
	case c.lenient && (m.IfIndex != 0 || m.TrafficClass != 0):
		_, err = c.sendLenient([]socket.Message{m}, true)
	case m.From.IsValid() || m.IfIndex != 0 || m.TTL|m.TrafficClass|m.ECN != 0 || len(m.Control) > 0 || m.To.Addr().Zone() != "":
		_, err = c.sendBatch(&m, 1, true)
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
func (c *Conn) SendBatch(ms []socket.Message, wait bool) (int, error) {
	if len(ms) == 0 {
		return 0, nil
	}
	if c.alone.Load() {
		ms = c.withSources(ms)
	}
	var n int
	var err error
	if c.lenient {
		n, err = c.sendLenient(ms, wait)
	} else {
		n, err = c.sendBatch(&ms[0], len(ms), wait)
	}
	if err != nil {
		err = c.sendErr(err)
	}
	return n, err
}

// sendErr takes ICMP messages off the error queue if the error of a send comes from one.
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

func (c *Conn) sendBatch(first *socket.Message, n int, wait bool) (sent int, err error) {
	ms := unsafe.Slice(first, n)
	s := senderPool.Get().(*sender)
	s.conn = c
	defer s.giveBack()
	var (
		next      position
		refusal   rejection
		confirmed int
		free      freely
	)
	for next.message < n {
		if free == freelyNow {
			s.pack(ms[:next.message+1], next)
			err = s.callFreely()
		} else {
			s.pack(ms, next)
			err = s.call(wait)
		}
		done := 0
		for i := range s.sent {
			done += s.count[i]
		}
		sent += done
		next.advance(ms, done)
		if err != nil {
			return sent, err
		}
		if done > 0 {
			confirmed, free = 0, freelyNot
		}
		if s.errno == 0 {
			continue
		}
		if s.errno == unix.EINVAL && free == freelyNot && c.mayFreely(&ms[next.message]) {
			free = freelyNow
			continue
		}
		if free == freelyNow {
			free = freelyFailed
		}
		to := ms[next.message].To.Addr()
		if s.count[s.sent] > 1 {
			if c.mayBeICMP(s.errno) && confirmed < maxConfirm {
				c.errorTaken()
				confirmed++
				continue
			}
			if refusal.lower(&c.path.limits, s.errno, next, to, s.count[s.sent], s.size[s.sent]) {
				confirmed = 0
				continue // none of its datagrams has left
			}
		}
		refusal.undo(&c.path.limits, next, to)
		return sent, sysErr("sendmmsg", s.errno)
	}
	return sent, nil
}

// freely is the state of sending a message from an address that no interface has.
type freely int

const (
	freelyNot freely = iota
	freelyNow
	freelyFailed // that failed, too
)

// mayFreely reports whether the source of m is an IPv6 address that this host has by a route
// only.
func (c *Conn) mayFreely(m *socket.Message) bool {
	return m.From.Is6() && c.wildcard() && c.localByRoute(m.From)
}

// callFreely is call, without waiting, with IPV6_FREEBIND set on the socket. The option is
// cleared again, because with it the socket would keep sending from a removed address.
func (s *sender) callFreely() error {
	c := s.conn
	c.path.freeing.Lock()
	defer c.path.freeing.Unlock()
	free := 0
	_ = onFD(c.rc, func(fd int) (err error) {
		if free, err = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND); err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
		}
		return err
	})
	err := s.call(false)
	_ = onFD(c.rc, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, free) })
	return err
}

// position is the next datagram of a batch: a message, and the offset of its segment.
type position struct{ message, offset int }

// advance moves p by n datagrams.
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
