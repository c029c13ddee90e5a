//go:build unix && !linux

package sys

import "golang.org/x/sys/unix"

func setOption(fd, level, option, value int) error {
	return unix.SetsockoptInt(fd, level, option, value)
}
