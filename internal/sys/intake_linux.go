package sys

import (
	"math"
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// StopIntake implements socket.Socket.
func (c *Conn) StopIntake() {
	_ = onFD(c.rc, func(fd int) error { c.stopIntake(fd, false); return nil })
}

// stopIntake makes the socket accept no more datagrams. It returns how many bytes of the
// receive buffer may be in use: math.MaxInt if the queue can't grow any more. With last, the
// socket doesn't send any more either.
//
// An adopted socket continues to receive, because others may have descriptors of it.
func (c *Conn) stopIntake(fd int, last bool) (bytes int) {
	switch {
	case c.adopted:
	case c.alone.Load(),
		last && !c.sharing.possible.Load() && c.leaveArray(fd),
		c.leaveGroup(fd),
		c.refuseAll(fd) == nil:
		return math.MaxInt
	}
	return queuedBytes(fd)
}

// leaveGroup removes the socket from its SO_REUSEPORT group. The kernel then gives its flows
// to the other members, and queued datagrams stay. It returns false if the socket is in no group.
func (c *Conn) leaveGroup(fd int) bool {
	reuse, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	if err != nil || reuse == 0 {
		return false
	}
	if _, err := peerName(fd); err == nil {
		return false // the group has no datagrams for it
	}
	if !c.leaveArray(fd) {
		return false
	}
	awaitArrivals()
	return true
}

// connectToSelf connects the socket to its own address, so that only itself could send to
// it. No lookup then finds it, neither for a datagram to its address nor for a flow of its
// SO_REUSEPORT group (udp4_lib_lookup2 and reuseport_select_sock skip connected sockets).
//
// A filter that drops everything would make the kernel count drops. This way the sender gets
// "port unreachable", as it does once the socket is closed.
func (c *Conn) connectToSelf(fd int) bool {
	local, err := socketName(fd)
	if err != nil {
		return false
	}
	c.noteLocal(fromSockaddr(fd, local))
	switch a := local.(type) {
	case *unix.SockaddrInet4:
		if a.Addr == [4]byte{} {
			a.Addr = [4]byte{127, 0, 0, 1}
		}
		if netip.AddrFrom4(a.Addr).IsMulticast() || a.Port == 0 {
			return false
		}
	case *unix.SockaddrInet6:
		if a.Addr == [16]byte{} {
			a.Addr[15] = 1
		}
		if netip.AddrFrom16(a.Addr).IsMulticast() || a.Port == 0 {
			return false
		}
	}
	if unix.Connect(fd, local) != nil {
		return false
	}
	c.alone.Store(true)
	return true
}

// withSource gives a message the source address that the system would choose if the socket
// were not connected to itself, which has fixed the source address.
func (c *Conn) withSource(m socket.Message) socket.Message {
	if m.From.IsValid() || !m.To.IsValid() || !c.wildcard() {
		return m
	}
	m.From = c.sourceFor(m.To, m.IfIndex)
	return m
}

// withSources is withSource for each message of a batch.
func (c *Conn) withSources(ms []socket.Message) []socket.Message {
	ms = slices.Clone(ms)
	for i := range ms {
		ms[i] = c.withSource(ms[i])
	}
	return ms
}

// queuedBytes returns how many bytes of the receive buffer are in use, or its size if that
// is unknown (before Linux 4.12).
func queuedBytes(fd int) int {
	if mem, ok := memInfo(fd); ok {
		return int(mem[skMeminfoRmemAlloc])
	}
	size, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return size
}

// memInfo is SO_MEMINFO (Linux 4.12).
func memInfo(fd int) (mem [skMeminfoVars]uint32, ok bool) {
	size := uint32(unsafe.Sizeof(mem))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&mem)), uintptr(unsafe.Pointer(&size)), 0)
	return mem, errno == 0 && size >= (skMeminfoDrops+1)*4
}

// Indexes of SO_MEMINFO's array, from linux/sock_diag.h.
const (
	skMeminfoRmemAlloc = 0
	skMeminfoDrops     = 8
	skMeminfoVars      = 9
)
