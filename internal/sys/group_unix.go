//go:build unix

package sys

import (
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindsTo reports whether a socket can be bound to a group. An IPv6 group of interface or
// link scope would also bind it to one interface, permanently (ipv6(7), sin6_scope_id).
func bindsTo(group netip.Addr) bool {
	return group.Is4() || !group.IsInterfaceLocalMulticast() && !group.IsLinkLocalMulticast()
}

// bindToGroup makes a socket that is bound to a group. Package net can't: it binds to the
// wildcard instead and lets other sockets share the port (listenDatagram in
// net/sock_posix.go, https://go.dev/issue/34728).
func bindToGroup(local netip.AddrPort, control func(network, address string, rc syscall.RawConn) error) (*net.UDPConn, error) {
	network, family := "udp4", unix.AF_INET
	if local.Addr().Is6() {
		network, family = "udp6", unix.AF_INET6
	}
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, sysErr("socket", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, sysErr("setnonblock", err)
	}
	f := os.NewFile(uintptr(fd), network+" "+local.String())
	defer f.Close()
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	if family == unix.AF_INET6 {
		if err := setInt(rc, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return nil, err
		}
	}
	if err := control(network, local.String(), rc); err != nil {
		return nil, err
	}
	if err := bind(rc, local, family == unix.AF_INET6); err != nil {
		return nil, err
	}
	pc, err := net.FilePacketConn(f)
	if err != nil {
		return nil, unwrapOp(err)
	}
	return pc.(*net.UDPConn), nil
}
