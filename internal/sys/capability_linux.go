package sys

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A capability of the kernel is cached once a socket has found it, which saves others the
// system call. If it is missing nothing is cached: seccomp may deny it to one socket only.
type capability struct{ found atomic.Bool }

// isStrict: see lenient; isNative: see emulated.
var canReport, canReport6, canCoalesce, canSegment, isStrict, isNative capability

func (c *capability) known(ask func() bool) bool {
	if !c.found.Load() && ask() {
		c.found.Store(true)
	}
	return c.found.Load()
}

func hasOption(fd, level, option int) bool {
	_, err := unix.GetsockoptInt(fd, level, option)
	return err == nil
}
