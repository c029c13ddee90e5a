//go:build unix

package sys

import (
	"math"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

type descriptor = int

// haveControlMessages: reads return control messages.
const haveControlMessages = true

type bufferOption int

const (
	readBuffer  bufferOption = unix.SO_RCVBUF
	writeBuffer bufferOption = unix.SO_SNDBUF
)

// onFD calls f with the descriptor. It returns the error of f or, if the socket is closed,
// that of Control.
func onFD(rc syscall.RawConn, f func(fd int) error) error {
	var err error
	if cerr := rc.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return unwrapOp(cerr)
	}
	return err
}

func setInt(rc syscall.RawConn, level, option, value int) error {
	return onFD(rc, func(fd int) error {
		return sysErr("setsockopt", unix.SetsockoptInt(fd, level, option, value))
	})
}

func getInt(rc syscall.RawConn, level, option int) (value int, err error) {
	err = onFD(rc, func(fd int) (err error) {
		value, err = unix.GetsockoptInt(fd, level, option)
		return sysErr("getsockopt", err)
	})
	return value, err
}

// setBroadcast sets or clears the flag, which package net sets on every UDP socket.
func setBroadcast(rc syscall.RawConn, on bool) error {
	return setInt(rc, unix.SOL_SOCKET, unix.SO_BROADCAST, toInt(on))
}

// setBuffer requests a buffer of n bytes; 0 keeps the system's default. Systems reduce n to
// their limit without an error.
func setBuffer(rc syscall.RawConn, o bufferOption, n int) {
	if n > 0 {
		growBuffer(rc, o, min(n, math.MaxInt32)) // the system takes an int of 32 bits
	}
}

// bufferSize returns the granted size in bytes, or 0 if it is unknown.
func bufferSize(rc syscall.RawConn, o bufferOption) int {
	got, err := getInt(rc, unix.SOL_SOCKET, int(o))
	if err != nil {
		return 0
	}
	return got / bufferFactor
}

// takesClass returns true: these systems ignore a control message that they do not know.
func (c *Conn) takesClass() bool { return true }

// trafficClass returns the traffic class set on the socket, or 0 if it is unknown.
func trafficClass(rc syscall.RawConn, v6 bool) uint8 {
	level, option := unix.IPPROTO_IP, unix.IP_TOS
	if v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	class, err := getInt(rc, level, option)
	if err != nil || class < 0 {
		return 0
	}
	return uint8(class)
}

// nonblocking makes the descriptors of a socket non-blocking, which the poller requires.
// os.File.Fd, called on a copy, may have made them blocking.
func nonblocking(rc syscall.RawConn) (wasBlocking bool, err error) {
	err = onFD(rc, func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK != 0 {
			return sysErr("fcntl", err)
		}
		wasBlocking = true
		return sysErr("fcntl", unix.SetNonblock(fd, true))
	})
	return wasBlocking, err
}

// handBackMode makes the descriptors blocking again if they were so when the socket was
// adopted. After it, nothing may read or send.
func (c *Conn) handBackMode() {
	if c.sharing.blocking {
		_ = onFD(c.rc, func(fd int) error { return unix.SetNonblock(fd, false) })
	}
}

// localOf is getsockname(2) for a socket that package net has just bound. Package net has
// kept the result, which saves the call.
func localOf(uc *net.UDPConn, fd int) (unix.Sockaddr, error) {
	a, ok := uc.LocalAddr().(*net.UDPAddr)
	switch {
	case !ok || a.Zone != "" || a.Port == 0:
		return socketName(fd)
	case len(a.IP) == net.IPv4len:
		return &unix.SockaddrInet4{Addr: [4]byte(a.IP), Port: a.Port}, nil
	}
	return &unix.SockaddrInet6{Addr: [16]byte(a.IP.To16()), Port: a.Port}, nil
}

// familyOf returns the families that the socket can reach and the address it is bound to.
func (c *Conn) familyOf() (f socket.Family, local netip.AddrPort, err error) {
	err = onFD(c.rc, func(fd int) error {
		sa, err := localOf(c.uc, fd)
		if c.adopted { // and may have been connected since
			sa, err = socketName(fd)
		}
		if err != nil {
			return sysErr("getsockname", err)
		}
		local = fromSockaddr(fd, sa)
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			f = socket.IPv4
			return nil
		case *unix.SockaddrInet6:
			f = socket.IPv6
			// Bound to an address of one family it can't send to the other.
			a := netip.AddrFrom16(sa.Addr)
			if a.Is4In6() {
				f = socket.IPv4
				return nil
			}
			if only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err == nil && only == 0 && a.IsUnspecified() {
				f = socket.Dual
			}
			return nil
		}
		return sysErr("getsockname", unix.EAFNOSUPPORT)
	})
	return f, local, err
}

func getsockname(rc syscall.RawConn) (a netip.AddrPort, err error) {
	err = onFD(rc, func(fd int) error {
		sa, err := socketName(fd)
		a = fromSockaddr(fd, sa)
		return sysErr("getsockname", err)
	})
	return a, err
}

func getpeername(rc syscall.RawConn) (a netip.AddrPort, err error) {
	err = onFD(rc, func(fd int) error {
		sa, err := peerName(fd)
		if err != nil {
			return sysErr("getpeername", err)
		}
		if a = fromSockaddr(fd, sa); a.Port() == 0 {
			a = netip.AddrPort{}
		}
		return nil
	})
	return a, err
}

func connect(rc syscall.RawConn, peer netip.AddrPort, v6 bool) error {
	return onFD(rc, func(fd int) error {
		return sysErr("connect", unix.Connect(fd, toSockaddr(fd, peer, v6)))
	})
}

func bind(rc syscall.RawConn, local netip.AddrPort, v6 bool) error {
	return onFD(rc, func(fd int) error {
		return sysErr("bind", unix.Bind(fd, toSockaddr(fd, local, v6)))
	})
}

func fromSockaddr(fd int, sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			a = a.WithZone(zoneName(uintptr(fd), sa.ZoneId))
		}
		return netip.AddrPortFrom(a, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func toSockaddr(fd int, a netip.AddrPort, v6 bool) unix.Sockaddr {
	if !v6 {
		return &unix.SockaddrInet4{Addr: a.Addr().Unmap().As4(), Port: int(a.Port())}
	}
	if a.Addr() == netip.IPv4Unspecified() {
		return &unix.SockaddrInet6{Port: int(a.Port())} // net listens to both families for it
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port()), ZoneId: zoneIndex(uintptr(fd), a.Addr().Zone())}
}

// Discard implements socket.Socket.
func (c *Conn) Discard() (n int) {
	_ = onFD(c.rc, func(fd int) error {
		n = discard(fd, c.stopIntake(fd, true)/minSkb)
		return nil
	})
	return n
}

// discardErrors bounds the failed reads while discarding.
const discardErrors = 1 << 10

// discard discards up to most queued messages and returns the number of datagrams in them.
// With MSG_TRUNC, Linux returns the whole length of a coalesced packet.
func discard(fd, most int) (total int) {
	var (
		oob  [4 * cmsg.Space]byte
		none [1]byte
	)
	for errs := 0; most > 0 && errs < discardErrors; {
		n, oobn, _, _, err := unix.RecvmsgBuffers(fd, [][]byte{none[:]}, oob[:], unix.MSG_TRUNC|dontWait)
		switch {
		case err == unix.EAGAIN, err != nil && Classify(err) == Closed:
			return total
		case err != nil:
			errs++ // an ICMP message's, which this call took; datagrams may follow
			continue
		}
		most--
		var m cmsg.Received
		cmsg.Parse(oob[:oobn], &m)
		if m.Segment > 0 && n > 0 {
			total += (n + m.Segment - 1) / m.Segment
		} else {
			total++
		}
	}
	return total
}
