//go:build !udpbasic

package sys

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// Send implements socket.Socket.
func (c *Conn) Send(m socket.Message) error {
	var err error
	switch {
	case m.From.IsValid() || m.ECN != 0 || m.IfIndex != 0:
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

// sendErr makes sure that the reader learns of an ICMP message whose error a
// send has taken away, and with it the edge that would have woken the reader.
func (c *Conn) sendErr(err error) error {
	err = unwrapOp(err)
	if c.path.reports.Load() {
		switch Classify(err) {
		case Report, Unreachable, TooLarge:
			c.path.reported.Store(true)
			c.Wake()
		}
	}
	return err
}

// How much one sendmmsg takes.
const (
	maxTrains   = 64
	maxTrain4   = 65535 - 20 - 8
	maxTrain6   = 65535 - 40 - 8
	controlSize = 96
)

// sender is what one sendmmsg needs: messages to the kernel, each a datagram or
// a train of them that UDP_SEGMENT cuts apart again.
type sender struct {
	conn    *Conn
	step    func(fd uintptr) bool // s.send, made once
	hdrs    [maxTrains]mmsghdr
	names   [maxTrains]unix.RawSockaddrInet6
	control [maxTrains][controlSize]byte
	count   [maxTrains]int // datagrams of each
	pieces  [maxTrains]int // iovecs of each
	iovs    []unix.Iovec
	used    int // of iovs, at most, since it came from the pool
	zones   zoneCache
	trains  int // that are set up
	sent    int // that the kernel took
	errno   syscall.Errno
}

var senderPool = sync.Pool{New: func() any {
	s := new(sender)
	s.step = s.send
	s.iovs = make([]unix.Iovec, 0, maxTrains)
	return s
}}

func (c *Conn) sendBatch(first *socket.Message, n int) (sent int, err error) {
	ms := unsafe.Slice(first, n)
	s := senderPool.Get().(*sender)
	s.conn = c
	defer s.giveBack()
	var before *limits // of trains, when a train was refused
	for sent < n {
		s.pack(ms[sent:])
		if err := c.rc.Write(s.step); err != nil {
			return sent, err
		}
		for i := range s.sent {
			sent += s.count[i]
		}
		if s.errno == 0 {
			continue
		}
		if s.count[s.sent] > 1 {
			was := c.path.limits()
			if c.path.degrade(s.errno, s.count[s.sent], len(ms[sent].Data)) {
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

// pack sets up as many of ms as fit.
func (s *sender) pack(ms []socket.Message) {
	var (
		p        = &s.conn.path
		segments = int(p.segments.Load())
		longest  = int(p.longest.Load())
	)
	s.trains, s.sent, s.errno, s.iovs = 0, 0, 0, s.iovs[:0]
	for len(ms) > 0 && s.trains < maxTrains {
		n := 1
		if segments > 1 {
			n = train(ms, segments, longest)
		}
		if len(s.iovs)+n > maxTrains*firstSegments && s.trains > 0 {
			break
		}
		s.add(ms[:n])
		ms = ms[n:]
	}
	s.used = max(s.used, len(s.iovs))
	// Only now: appending may have moved them.
	at := 0
	for i := range s.trains {
		h := &s.hdrs[i].hdr
		h.Iov = &s.iovs[at]
		h.SetIovlen(s.pieces[i])
		at += s.pieces[i]
	}
}

// train returns how many of ms can leave as one: neighbours of one destination,
// source and ECN, of one size, of which the last may be shorter.
func train(ms []socket.Message, segments, longest int) int {
	first := &ms[0]
	size := len(first.Data)
	if size == 0 || size > longest {
		return 1
	}
	limit := maxTrain6 // the lower one, also when connected to either family
	if first.To.Addr().Is4() {
		limit = maxTrain4
	}
	n, bytes := 1, size
	for n < len(ms) && n < segments {
		m := &ms[n]
		if len(m.Data) > size || len(m.Data) == 0 || bytes+len(m.Data) > limit ||
			m.ECN != first.ECN || m.To != first.To || m.From != first.From || m.IfIndex != first.IfIndex {
			break
		}
		n++
		bytes += len(m.Data)
		if len(m.Data) < size {
			break
		}
	}
	return n
}

// add sets up one train, but for its iovecs' address.
func (s *sender) add(ms []socket.Message) {
	i, m := s.trains, &ms[0]
	h := &s.hdrs[i].hdr
	*h = unix.Msghdr{}
	if m.To.IsValid() {
		h.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		h.Namelen = s.zones.put(&s.names[i], m.To, s.conn.path.inet6)
	}
	b := s.control[i][:0]
	if m.IfIndex != 0 {
		b, _ = cmsg.AppendInterface(b, m.From, m.IfIndex, !s.toIPv4(m))
	} else if m.From.IsValid() {
		b = cmsg.AppendSource(b, m.From)
	}
	if m.ECN != 0 {
		b = cmsg.AppendECN(b, m.ECN, !s.toIPv4(m))
	}
	if len(ms) > 1 {
		b = cmsg.AppendSegment(b, uint16(len(m.Data)))
	}
	if len(b) > 0 {
		h.Control = &b[0]
		h.SetControllen(len(b))
	}
	start := len(s.iovs)
	for j := range ms {
		s.append(ms[j].Data, start)
	}
	s.count[i], s.pieces[i] = len(ms), len(s.iovs)-start
	s.trains++
}

// append adds a payload to the iovecs from start on. What lies behind the last
// one in memory, as gathered replies do, makes that one longer.
func (s *sender) append(data []byte, start int) {
	if len(data) == 0 {
		s.iovs = append(s.iovs, unix.Iovec{})
		return
	}
	if n := len(s.iovs); n > start {
		if last := &s.iovs[n-1]; uintptr(unsafe.Pointer(last.Base))+uintptr(last.Len) == uintptr(unsafe.Pointer(&data[0])) {
			last.SetLen(int(last.Len) + len(data))
			return
		}
	}
	iov := unix.Iovec{Base: &data[0]}
	iov.SetLen(len(data))
	s.iovs = append(s.iovs, iov)
}

// toIPv4 says whether a message goes to an IPv4 address.
func (s *sender) toIPv4(m *socket.Message) bool {
	if m.To.IsValid() {
		return m.To.Addr().Is4()
	}
	return s.conn.path.peer4.Load()
}

// send is called by RawConn.Write while the socket is writable.
func (s *sender) send(fd uintptr) bool {
	for s.sent < s.trains {
		n, errno := s.conn.path.sendmmsg(fd, s.hdrs[s.sent:s.trains])
		switch errno {
		case 0:
			s.sent += n
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			s.errno = errno
			return true
		}
	}
	return true
}

func (s *sender) giveBack() {
	clear(s.iovs[:s.used])
	s.conn, s.used = nil, 0
	senderPool.Put(s)
}
