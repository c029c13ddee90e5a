//go:build !udpbasic

package sys

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// emulated reports whether QEMU emulates the processor for this program (user mode), as in a
// container of another architecture. QEMU makes recvmmsg a loop of recvmsg that any signal
// ends, so fewer messages than requested do not mean that the queue is empty. It leaves the
// data of most control messages in the host's byte order; on a big-endian processor the length
// of segments is then wrong, and datagrams would arrive merged (do_sendrecvmmsg and
// target_to_host_cmsg in linux-user/syscall.c, 7.2).
//
// It is recognized by a recvmmsg on an invalid descriptor, for a message without buffers, that
// succeeds.
func emulated() bool {
	return !isNative.known(func() bool { return onNoDescriptor(unix.SYS_RECVMMSG) != 0 })
}

var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// onNoDescriptor calls recvmmsg or sendmmsg with an invalid descriptor and a message without
// buffers.
func onNoDescriptor(call uintptr) syscall.Errno {
	var h mmsghdr
	_, _, errno := unix.Syscall6(call, ^uintptr(0), uintptr(unsafe.Pointer(&h)), 1, unix.MSG_DONTWAIT, 0, 0)
	return errno
}
