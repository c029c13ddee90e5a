package sys

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

func bindToDevice(rc syscall.RawConn, name string) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	return setFamilies(rc, unix.IP_BOUND_IF, unix.IPV6_BOUND_IF, ifi.Index)
}
