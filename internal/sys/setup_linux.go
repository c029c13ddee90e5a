package sys

import (
	"errors"
	"fmt"
	"math"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// Linux doubles the values of SO_RCVBUF and SO_SNDBUF, for its own overhead, and returns
// the doubled values (socket(7)).
const bufferFactor = 2

// growBuffer tries the option that ignores rmem_max and wmem_max, which needs CAP_NET_ADMIN,
// and then the limited one.
func growBuffer(rc syscall.RawConn, o bufferOption, n int) {
	forced := unix.SO_RCVBUFFORCE
	if o == writeBuffer {
		forced = unix.SO_SNDBUFFORCE
	}
	if setInt(rc, unix.SOL_SOCKET, forced, n) != nil {
		_ = setInt(rc, unix.SOL_SOCKET, int(o), n)
	}
}

// beforeBind sets the options that have to be set before the first datagram arrives.
func beforeBind(rc syscall.RawConn, network string, o socket.Options) (filter bool, err error) {
	err = onFD(rc, func(fd int) error {
		filter = onlyOwnGroups(fd, network != "udp4")
		if o.ReuseAddr {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				return sysErr("setsockopt", err)
			}
		}
		if o.ReusePort {
			return sysErr("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		}
		return nil
	})
	return filter, err
}

// onlyOwnGroups makes a socket receive only the groups that it has joined itself, not those of
// other sockets of the host (ip(7); Linux 2.6.31, 4.20 for IPv6).
func onlyOwnGroups(fd int, v6 bool) bool {
	ignores := lenient(fd)
	err := trySetting(fd, ignores, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	if v6 && err == nil {
		err = trySetting(fd, ignores, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	}
	return err == nil
}

// setup enables the control messages of received datagrams. If a kernel or a sandbox lacks one,
// the socket lacks that feature only, and Info says so.
func (c *Conn) setup(o socket.Options) error {
	return onFD(c.rc, func(fd int) error {
		c.lenient = lenient(fd)
		on := func(level, option int) bool {
			return trySetting(fd, c.lenient, level, option, 1) == nil
		}
		v6 := c.inet6
		if c.needsInfo() {
			c.info.PacketInfo = on(unix.IPPROTO_IP, unix.IP_PKTINFO)
			if v6 {
				// A dual-stack socket reports IPv4 datagrams by the options of both families.
				c.info.PacketInfo = on(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO)
			}
		}
		if o.Timestamps {
			c.info.Timestamps = on(unix.SOL_SOCKET, int(timestampOption))
		}
		if !c.info.MulticastFilter {
			c.info.MulticastFilter = onlyOwnGroups(fd, v6)
		}
		if err := c.path.setup(fd, v6, o, &c.info); err != nil || !c.lenient {
			return err
		}
		// The system's own options still work, and errnos of connected sockets.
		c.info.PacketInfo, c.info.ECN, c.info.ErrorQueue = false, false, false
		if o.PeerErrors {
			return fmt.Errorf("PeerErrors: %w", errors.ErrUnsupported)
		}
		return nil
	})
}

// timestampOption has 64-bit seconds. On 32-bit systems that is SO_TIMESTAMPNS_NEW (Linux 5.1).
const timestampOption = unix.SO_TIMESTAMPNS + (unix.SO_TIMESTAMPNS_NEW-unix.SO_TIMESTAMPNS)*(8-unsafe.Sizeof(uintptr(0)))/4

// drops returns how many datagrams did not fit into the socket's buffer. SO_MEMINFO has the exact
// number, without another datagram having to arrive.
func drops(rc syscall.RawConn) (n uint32, ok bool) {
	err := rc.Control(func(fd uintptr) {
		var mem [skMeminfoVars]uint32
		mem, ok = memInfo(int(fd))
		n = mem[skMeminfoDrops]
	})
	return n, ok && err == nil
}

// refuseAll makes the socket's filter drop everything that arrives. The kernel counts that
// like datagrams that did not fit into the buffer. It replaces another filter, and fails if
// that is locked (SO_LOCK_FILTER).
func (c *Conn) refuseAll(fd int) error {
	if c.lenient {
		return errors.ErrUnsupported
	}
	err := setFilter(fd, 0)
	if err == nil {
		c.refuses.Store(true)
	}
	return err
}

// acceptAll undoes refuseAll. QEMU's emulator of a processor has no SO_DETACH_FILTER
// (do_setsockopt in linux-user/syscall.c, 7.2), so there a filter that accepts everything
// replaces it. ENOENT means that there is no filter.
func acceptAll(fd int) {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	if err != nil && err != unix.ENOENT {
		_ = setFilter(fd, math.MaxUint32)
	}
}

// setFilter makes a socket keep so many bytes of each datagram; 0 drops it.
func setFilter(fd int, keep uint32) error {
	program := [1]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: keep}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: 1, Filter: &program[0]})
}
