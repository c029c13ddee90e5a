package sys

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

// lenient reports whether the network stack accepts and ignores options that it does not
// have. gVisor's does, for programs that worked with its early versions (setSockOptIP in
// pkg/sentry/socket/netstack/netstack.go). The only control message that it takes is the TTL
// (linuxToNetstackControlMessages there), and it reports ICMP errors to connected sockets only
// (https://gvisor.dev/issue/5270). A strict stack is asked once.
func lenient(fd int) bool {
	return !isStrict.known(func() bool { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, noOption, 1) != nil })
}

const noOption = 0x7fff // no option of Linux, which returns ENOPROTOOPT

// setOption sets an option. It fails if that has no effect.
func setOption(fd, level, option, value int) error {
	return trySetting(fd, lenient(fd), level, option, value)
}

// trySetting is setOption for a caller that knows whether the stack is lenient. If it is, an
// option that can't be read back is missing.
func trySetting(fd int, lenient bool, level, option, value int) error {
	err := unix.SetsockoptInt(fd, level, option, value)
	if err == nil && lenient {
		if _, err := unix.GetsockoptInt(fd, level, option); err != nil {
			return fmt.Errorf("%w: the option is ignored: %w", err, errors.ErrUnsupported)
		}
	}
	return err
}

// changeOlder changes a membership by the options that are older than RFC 3678. These are
// needed on a lenient stack, and where the options of that RFC are missing, as in QEMU's
// emulator of a processor (do_setsockopt in linux-user/syscall.c, 7.2). Elsewhere it returns
// false. Such memberships are for any source.
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
			if missing { // QEMU ignores the index in struct ip_mreqn, too
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

// lacksMembership returns an error if the options older than RFC 3678 cannot make the
// membership. missing: the options of the RFC are missing; otherwise the stack is lenient.
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

// changeByAddress names the interface by its address.
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
