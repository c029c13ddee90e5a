package sys

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

// lenient reports whether a network stack accepts options that it does not have, and
// ignores them. gVisor's does so for programs that worked with its early versions:
// setSockOptIP in pkg/sentry/socket/netstack/netstack.go. It has no control messages but
// those of the TTL either (linuxToNetstackControlMessages there), and reports ICMP errors
// to connected sockets only (https://gvisor.dev/issue/5270). One socket is asked.
func lenient(fd int) bool {
	return !isStrict.known(func() bool { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, noOption, 1) != nil })
}

const noOption = 0x7fff // of no Linux, which fails with ENOPROTOOPT

// setOption sets an option and fails if that has no effect.
func setOption(fd, level, option, value int) error {
	return trySetting(fd, lenient(fd), level, option, value)
}

// trySetting is setOption on a stack of which it is known whether it is lenient. What it
// has can be read back.
func trySetting(fd int, lenient bool, level, option, value int) error {
	err := unix.SetsockoptInt(fd, level, option, value)
	if err == nil && lenient {
		if _, err := unix.GetsockoptInt(fd, level, option); err != nil {
			return fmt.Errorf("%w: the option is ignored: %w", err, errors.ErrUnsupported)
		}
	}
	return err
}

// changeOlder changes a membership by the options that are older than RFC 3678: on a
// lenient stack, and where the options of that RFC have failed because there are none, as
// in QEMU's emulator of a processor (do_setsockopt in linux-user/syscall.c, 7.2). It
// returns false for other systems. Memberships are those of any source.
func changeOlder(uc *net.UDPConn, m member, a action, failed error) (done bool, err error) {
	rc, err := uc.SyscallConn()
	if err != nil {
		return true, unwrapOp(err)
	}
	err = onFD(rc, func(fd int) error {
		missing := errors.Is(failed, unix.ENOPROTOOPT)
		if done = missing || lenient(fd); !done {
			return nil
		}
		if err := lacksMembership(fd, m, missing); err != nil {
			return err
		}
		if m.group.Is4() {
			option := unix.IP_ADD_MEMBERSHIP
			if a == leave {
				option = unix.IP_DROP_MEMBERSHIP
			}
			if missing { // QEMU ignores the index in struct ip_mreqn too
				return changeByAddress(fd, option, m)
			}
			return sysErr("setsockopt", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, option,
				&unix.IPMreqn{Multiaddr: m.group.As4(), Ifindex: int32(m.ifindex)}))
		}
		option := unix.IPV6_JOIN_GROUP
		if a == leave {
			option = unix.IPV6_LEAVE_GROUP
		}
		return sysErr("setsockopt", unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, option,
			&unix.IPv6Mreq{Multiaddr: m.group.As16(), Interface: uint32(m.ifindex)}))
	})
	return done, err
}

// lacksMembership is the error of a membership that the options which are older than
// RFC 3678 do not have: on a lenient stack, or where only they are missing.
func lacksMembership(fd int, m member, missing bool) error {
	switch {
	case m.source.IsValid():
		return fmt.Errorf("membership of one source: %w", errors.ErrUnsupported)
	case m.group.Is4() && inet6(fd) && !missing:
		// Each endpoint takes groups of its own family (SetSockOpt in pkg/tcpip/transport/internal/network).
		return fmt.Errorf("IPv4 group on an IPv6 socket: %w", errors.ErrUnsupported)
	}
	return nil
}

// changeByAddress names the interface by an address of its own.
func changeByAddress(fd, option int, m member) error {
	mreq := unix.IPMreq{Multiaddr: m.group.As4()}
	if m.ifindex != 0 {
		ifi, err := net.InterfaceByIndex(m.ifindex)
		if err != nil {
			return fmt.Errorf("%w: %w", err, unix.ENODEV)
		}
		addrs, err := ifi.Addrs()
		i := slices.IndexFunc(addrs, func(a net.Addr) bool { n, ok := a.(*net.IPNet); return ok && n.IP.To4() != nil })
		if i < 0 {
			return errors.Join(err, unix.EADDRNOTAVAIL)
		}
		mreq.Interface = [4]byte(addrs[i].(*net.IPNet).IP.To4())
	}
	return sysErr("setsockopt", unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, option, &mreq))
}
