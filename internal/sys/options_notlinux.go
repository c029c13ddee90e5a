//go:build !linux

package sys

import (
	"errors"
	"net/netip"
	"syscall"

	"github.com/udpkit/udp/internal/socket"
)

func setMark(syscall.RawConn, uint32) error { return errors.ErrUnsupported }
func setFreeBind(syscall.RawConn) error     { return errors.ErrUnsupported }
func setTransparent(syscall.RawConn) error  { return errors.ErrUnsupported }

// setMTUDiscovery has only "do": these systems always trust ICMP errors about the MTU.
func setMTUDiscovery(rc syscall.RawConn, m socket.MTUDiscovery) error {
	if m != socket.MTUDo {
		return errors.ErrUnsupported
	}
	return dontFragment(rc)
}

// MTU implements socket.Socket. It is unknown here.
func (c *Conn) MTU(netip.AddrPort) int { return 0 }
