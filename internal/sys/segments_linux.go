//go:build !udpbasic

package sys

import (
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// How much one sendmmsg takes.
const (
	maxMessages = 64
	maxPayload4 = 65535 - 20 - 8
	maxPayload6 = 65535 - 40 - 8
	controlSize = 128 // 112 are the most: IPv6 packet info, class, hop limit, segment size
)

// sender is what one sendmmsg needs: messages to the kernel, each a datagram or
// a segmented send that UDP_SEGMENT cuts into datagrams again.
type sender struct {
	conn     *Conn
	step     func(fd uintptr) bool // s.send, made once
	now      func(fd uintptr)      // s.sendNow, likewise
	hdrs     [maxMessages]mmsghdr
	names    [maxMessages]unix.RawSockaddrInet6
	control  [maxMessages][controlSize]byte
	count    [maxMessages]int // datagrams of each
	size     [maxMessages]int // of its first
	iovs     [maxMessages]unix.Iovec
	messages int // that are set up
	used     int // the most that were set up since it came from the pool
	sent     int // that the kernel took
	errno    syscall.Errno
	class    [2]int // of the socket, for IPv4 and IPv6; below 0: not known yet
}

var senderPool = sync.Pool{New: func() any {
	s := new(sender)
	s.step, s.now = s.send, s.sendNow
	return s
}}

// pack sets up as many of ms, from next on, as fit.
func (s *sender) pack(ms []socket.Message, next position) {
	l := &s.conn.path.limits
	segments := max(1, int(l.segments.Load()))
	s.messages, s.sent, s.errno = 0, 0, 0
	s.class = [2]int{-1, -1}
	for next.message < len(ms) && s.messages < maxMessages {
		m := &ms[next.message]
		n, longest := 1, l.longest(m.To.Addr())
		if s.conn.sendsOnce(m) {
			longest = 0
		}
		if m.Segment > 0 {
			n = s.addPart(m, next.offset, segments, longest)
		} else {
			s.add(m, m.Data, 1, len(m.Data))
		}
		next.advance(ms, n)
	}
	s.used = max(s.used, s.messages)
}

// sendsOnce says whether the error of a segmented send would say nothing about its
// datagrams. While the error queue is on, Linux returns ENOBUFS for a full queue of the
// interface, also when members of the group on this host have received the datagram
// before (ip_mc_output in net/ipv4/ip_output.c of 6.18). Who sends the segments that
// follow the one that failed would send them twice.
func (c *Conn) sendsOnce(m *socket.Message) bool {
	if !c.path.reports.Load() {
		return false
	}
	if !m.To.IsValid() {
		return c.path.peerMany.Load()
	}
	return c.many(m.To.Addr())
}

// many says whether an address may mean more than one receiver.
func (c *Conn) many(to netip.Addr) bool {
	return to.IsMulticast() || c.path.broadcast && to.Is4()
}

// maxSegmentedBytes is how many bytes a segmented send may have; while connected, to either family,
// the lower of the two.
func maxSegmentedBytes(m *socket.Message) int {
	if m.To.Addr().Is4() {
		return maxPayload4
	}
	return maxPayload6
}

// addPart sets up as much of a message of several segments as may leave as one send,
// and returns how many datagrams that is.
func (s *sender) addPart(m *socket.Message, offset, segments, longest int) int {
	n := 1
	if m.Segment <= longest {
		n = max(1, min(segments, maxSegmentedBytes(m)/m.Segment))
	}
	data := m.Data[offset:]
	data = data[:min(len(data), n*m.Segment)]
	n = (len(data) + m.Segment - 1) / m.Segment
	s.add(m, data, n, m.Segment)
	return n
}

// add sets up a message of n datagrams of size bytes, whose payloads are data.
func (s *sender) add(m *socket.Message, data []byte, n, size int) {
	i := s.messages
	h := &s.hdrs[i].hdr
	*h = unix.Msghdr{}
	s.iovs[i] = unix.Iovec{}
	if len(data) > 0 {
		s.iovs[i].Base = &data[0]
		s.iovs[i].SetLen(len(data))
	}
	h.Iov = &s.iovs[i]
	h.SetIovlen(1)
	if m.To.IsValid() {
		h.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		h.Namelen = s.conn.putAddr(&s.names[i], m.To, s.conn.inet6)
	}
	b := s.control[i][:0]
	if outlet := s.conn.outletOf(m); outlet != 0 {
		b, _ = cmsg.AppendInterface(b, s.conn.sourceOf(m), outlet, !s.toIPv4(m))
	} else if m.From.IsValid() {
		b = cmsg.AppendSource(b, m.From)
	}
	if m.TrafficClass|m.ECN != 0 {
		v6 := !s.toIPv4(m)
		own := &s.class[toInt(v6)]
		if *own < 0 && m.TrafficClass == 0 { // else it does not matter
			*own = int(s.conn.socketClass(v6))
		}
		b, _ = cmsg.AppendTrafficClass(b, classOf(m, uint8(*own)), v6)
	}
	if m.TTL != 0 {
		b, _ = cmsg.AppendTTL(b, m.TTL, !s.toIPv4(m))
	}
	b = append(b, m.Control...)
	if n > 1 {
		b = cmsg.AppendSegment(b, uint16(size))
	}
	if len(b) > 0 {
		h.Control = &b[0]
		h.SetControllen(len(b))
	}
	s.count[i], s.size[i] = n, size
	s.messages++
}

// toIPv4 says whether a message goes to an IPv4 address.
func (s *sender) toIPv4(m *socket.Message) bool {
	if m.To.IsValid() {
		return m.To.Addr().Is4()
	}
	return s.conn.path.peer4.Load()
}

// call sends what is set up. Without wait it uses RawConn.Control: a sender that
// waits in RawConn.Write holds the descriptor's write lock, which Write would wait
// for.
func (s *sender) call(wait bool) error {
	if wait {
		return s.conn.rc.Write(s.step)
	}
	return s.conn.rc.Control(s.now)
}

// sendNow is send for RawConn.Control.
func (s *sender) sendNow(fd uintptr) {
	if !s.send(fd) {
		s.errno = unix.EAGAIN
	}
}

// send is called by RawConn.Write while the socket is writable. It returns false
// when there is no room.
func (s *sender) send(fd uintptr) bool {
	for s.sent < s.messages {
		end := s.nextCall()
		n, errno := s.conn.path.sendmmsg(fd, s.hdrs[s.sent:end])
		switch errno {
		case 0:
			// What stopped it is gone with this call when it was an ICMP message's error,
			// and so is the edge that would have woken the reader.
			if s.sent += n; s.sent < end {
				s.conn.errorTaken()
			}
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			if end > s.sent+1 && rejected(unix.SYS_SENDMMSG) {
				s.conn.path.single.Store(true)
				continue
			}
			s.errno = errno
			return true
		}
	}
	return true
}

// nextCall are the messages that go with the next call: one where sendmmsg is rejected,
// all, or, where that is only a few of them, as many as are sent without telling
// the scheduler.
func (s *sender) nextCall() (end int) {
	if s.conn.path.single.Load() {
		return s.sent + 1
	}
	bytes := 0
	for end = s.sent; end < s.messages; end++ {
		if bytes += s.count[end] * s.size[end]; bytes > maxRawBytes && end > s.sent {
			break
		}
	}
	if end-s.sent > maxRaw {
		return s.messages
	}
	return end
}

func (s *sender) giveBack() {
	clear(s.iovs[:s.used])
	s.conn, s.used = nil, 0
	senderPool.Put(s)
}
