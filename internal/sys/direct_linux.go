//go:build !udpbasic

package sys

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// direct reads one datagram into the memory of Pull's caller. If datagrams arrive one at a
// time, that takes half the time of a read for many: it needs no buffer, and without control
// messages the call is recvfrom, the cheapest one.
type direct struct {
	into        []byte
	withControl bool // control messages are wanted
	rejected    bool // recvfrom or recvmsg failed, but recvmmsg may succeed
	read        bool // into has a datagram

	n      int // its length, which may be more than that of into
	packet [1]socket.Packet
	// What the system calls write.
	name    unix.RawSockaddrInet6
	namelen uint32
	hdr     unix.Msghdr
	iov     unix.Iovec
	control [cmsg.Space]byte
}

// possible reports whether the next read can be direct: it would read one message, which can't
// be a coalesced packet. (If another holder of the descriptor may have enabled UDP_GRO, it can.)
func (d *direct) possible(p *puller) bool {
	c := p.conn
	return len(d.into) > 0 && p.slots == 1 && !d.rejected && p.batch == nil &&
		c.path.gro.state.Load() != groOn && !c.exposed.Load() && c.path.space.Load() == cmsg.Space
}

// receive reads a datagram. MSG_TRUNC has the system return its whole length.
func (d *direct) receive(fd uintptr) syscall.Errno {
	const flags = unix.MSG_DONTWAIT | unix.MSG_TRUNC
	var (
		n     uintptr
		errno syscall.Errno
	)
	d.namelen = uint32(unsafe.Sizeof(d.name))
	if d.withControl {
		d.iov.Base = &d.into[0]
		d.iov.SetLen(len(d.into))
		d.hdr = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&d.name)), Namelen: d.namelen, Iov: &d.iov, Control: &d.control[0]}
		d.hdr.SetIovlen(1)
		d.hdr.SetControllen(len(d.control))
		n, _, errno = unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&d.hdr)), flags)
		d.namelen, d.iov.Base = d.hdr.Namelen, nil
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&d.into[0])), uintptr(len(d.into)),
			flags, uintptr(unsafe.Pointer(&d.name)), uintptr(unsafe.Pointer(&d.namelen)))
	}
	d.n, d.read = int(n), errno == 0
	return errno
}

// unpack makes a packet of what was read.
func (d *direct) unpack(c *Conn) []socket.Packet {
	n := min(d.n, len(d.into))
	p := &d.packet[0]
	p.Data, p.Cut, p.From = d.into[:n], d.n-n, c.addrPort(&d.name, int(d.namelen))
	if !d.withControl {
		p.To = netip.AddrPortFrom(c.only, 0)
		return d.packet[:]
	}
	m := cmsg.Received{To: c.only}
	if size := int(d.hdr.Controllen); size > 0 {
		cmsg.Parse(d.control[:size], &m)
	}
	p.To, p.Own = netip.AddrPortFrom(c.zoned(m.To, m.IfIndex), m.Port), m.Own
	p.IfIndex, p.TTL, p.TrafficClass, p.Time = m.IfIndex, m.TTL, m.TrafficClass, m.Time
	if cmsg.Truncated(int(d.hdr.Flags)) {
		p.ControlTruncated = incomplete(&m)
		c.path.moreSpace(len(d.control))
	}
	return d.packet[:]
}

// end drops the reference to the caller's memory.
func (d *direct) end() { d.into, d.read = nil, false }
