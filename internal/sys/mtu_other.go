//go:build !linux && !darwin && !freebsd && !windows

package sys

import (
	"errors"
	"net/netip"
	"syscall"
)

func dontFragment(syscall.RawConn) error { return errors.ErrUnsupported }

// MTU implements socket.Socket; it is not known here.
func (c *Conn) MTU(netip.AddrPort) int { return 0 }
