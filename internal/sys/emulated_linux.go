//go:build !udpbasic

package sys

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// emulated reports whether QEMU emulates this processor for one program, as for a
// container of another architecture. It makes recvmmsg a loop of recvmsg, which any signal
// ends: fewer messages than were asked for do not mean that the queue is empty. And it
// leaves the data of most control messages in the byte order of the host, so that the
// length of segments is wrong on a big-endian processor: there datagrams would arrive
// merged (do_sendrecvmmsg and target_to_host_cmsg in linux-user/syscall.c, 7.2).
//
// It is recognized by a recvmmsg that takes a message without buffers from no descriptor.
func emulated() bool {
	return !isNative.known(func() bool { return onNoDescriptor(unix.SYS_RECVMMSG) != 0 })
}

var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// onNoDescriptor makes recvmmsg or sendmmsg for a message without buffers.
func onNoDescriptor(call uintptr) syscall.Errno {
	var h mmsghdr
	_, _, errno := unix.Syscall6(call, ^uintptr(0), uintptr(unsafe.Pointer(&h)), 1, unix.MSG_DONTWAIT, 0, 0)
	return errno
}
