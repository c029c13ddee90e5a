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

// Bounds of one sendmmsg.
const (
	maxMessages = 64
	maxPayload4 = 65535 - 20 - 8
	maxPayload6 = 65535 - 40 - 8
	controlSize = 128 // at most 112 are used: IPv6 packet info, class, hop limit, segment size
)

// sender is the memory of one sendmmsg. Each message to the kernel is a datagram or a segmented
// send, which UDP_SEGMENT cuts into datagrams.
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
	messages int // number set up
	used     int // the most set up since the sender was taken from the pool
	sent     int // number that the kernel accepted
	errno    syscall.Errno
	class    [2]int // of the socket, for IPv4 and IPv6; below 0: not known yet
}

var senderPool = sync.Pool{New: func() any {
	s := new(sender)
	s.step, s.now = s.send, s.sendNow
	return s
}}

// pack sets up as many messages of ms, from next on, as fit.
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

// sendsOnce reports whether a segmented send must not be repeated after an error. While the
// error queue is on, Linux returns ENOBUFS if the queue of the interface is full, even if
// members of the group on this host have received the datagrams already (ip_mc_output in
// net/ipv4/ip_output.c of 6.18). To them a repetition would send the datagrams twice.
func (c *Conn) sendsOnce(m *socket.Message) bool {
	if !c.path.reports.Load() {
		return false
	}
	if !m.To.IsValid() {
		return c.path.peerMany.Load()
	}
	return c.many(m.To.Addr())
}

// many reports whether an address may have more than one receiver.
func (c *Conn) many(to netip.Addr) bool {
	return to.IsMulticast() || c.path.broadcast && to.Is4()
}

// maxSegmentedBytes returns how many bytes a segmented send may have. For a connected socket it
// is the lower limit of the two families.
func maxSegmentedBytes(m *socket.Message) int {
	if m.To.Addr().Is4() {
		return maxPayload4
	}
	return maxPayload6
}

// addPart sets up as many segments of a message as one send may have, and returns their number.
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
		if *own < 0 && m.TrafficClass == 0 { // otherwise the socket's does not matter
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

// toIPv4 reports whether the destination of a message is an IPv4 address.
func (s *sender) toIPv4(m *socket.Message) bool {
	if m.To.IsValid() {
		return m.To.Addr().Is4()
	}
	return s.conn.path.peer4.Load()
}

// call sends the messages that are set up. Without wait it uses RawConn.Control, because
// RawConn.Write would wait for the descriptor's write lock, which a waiting sender holds.
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

// send is called by RawConn.Write while the socket is writable. It returns false if there is
// no room.
func (s *sender) send(fd uintptr) bool {
	for s.sent < s.messages {
		end := s.nextCall()
		n, errno := s.conn.path.sendmmsg(fd, s.hdrs[s.sent:end])
		switch errno {
		case 0:
			// If that was the error of an ICMP message, the call has taken it, and with it
			// the edge that would have woken the reader.
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

// nextCall returns the end of the messages for the next call. If sendmmsg is rejected, that is
// one message. If few messages make up maxRawBytes, the call has these and is raw (see
// sendmmsg). Otherwise it has all messages.
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
