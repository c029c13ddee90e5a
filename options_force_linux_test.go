package udp_test

import "golang.org/x/sys/unix"

func force(fd uintptr, n int) bool {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) == nil
}
