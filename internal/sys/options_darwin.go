package sys

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

var own = &macOSNumbers

func bindToDevice(rc syscall.RawConn, name string) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	return setPair(rc, own.device, ifi.Index)
}

// A number of numbers.go that is not the system's does not compile: an array has no
// element but the first.
var _ = [...]struct{}{
	[1]struct{}{}[unix.IPV6_TCLASS-macTClass],
	[1]struct{}{}[unix.IP_DONTFRAG-macDontFrag],
	[1]struct{}{}[unix.IPV6_DONTFRAG-bsdDontFrag6],
	[1]struct{}{}[unix.IP_BOUND_IF-macBoundIf],
	[1]struct{}{}[unix.IPV6_BOUND_IF-macBoundIf6],
}
