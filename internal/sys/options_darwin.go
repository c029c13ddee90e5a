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

// If a number of numbers.go differs from the system's, this does not compile: the array has no
// element but the first.
var _ = [...]struct{}{
	[1]struct{}{}[unix.IPV6_TCLASS-macTClass],
	[1]struct{}{}[unix.IP_DONTFRAG-macDontFrag],
	[1]struct{}{}[unix.IPV6_DONTFRAG-bsdDontFrag6],
	[1]struct{}{}[unix.IP_BOUND_IF-macBoundIf],
	[1]struct{}{}[unix.IPV6_BOUND_IF-macBoundIf6],
}
