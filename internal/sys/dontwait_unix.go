//go:build unix && !aix

package sys

import "golang.org/x/sys/unix"

const dontWait = unix.MSG_DONTWAIT
