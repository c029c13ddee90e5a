//go:build !unix

package sys

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// bindsTo reports whether a socket can be bound to a group. On Windows it can't (bind,
// Remarks: WSAEADDRNOTAVAIL).
func bindsTo(netip.Addr) bool { return false }

func bindToGroup(netip.AddrPort, func(network, address string, rc syscall.RawConn) error) (*net.UDPConn, error) {
	return nil, errors.ErrUnsupported
}
