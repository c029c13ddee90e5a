package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// waiter waits until there is something to read. So an idle socket has no buffer: a read of
// package net that waits would need one of 64 KiB.
type waiter struct {
	release func() // called if there is nothing to read
	ready   func(fd uintptr) bool
	waited  bool
	failed  bool // the last wait returned an error

	length, returned uint32 // of pending; fields, because they escape
}

func newWaiter(release func()) *waiter {
	w := &waiter{release: release}
	w.ready = w.readable
	return w
}

// wait asks for the length of the first datagram, and if there is none, or an empty one,
// has package net peek at it with a read of no bytes, which waits.
func (w *waiter) wait(rc syscall.RawConn) error {
	w.waited = false
	err := rc.Read(w.ready)
	class := Classify(err)
	if err == nil || class == Deadline || class == Closed {
		w.failed = false
		return err
	}
	// An ICMP error ends the peek. According to libuv (uv__process_udp_recv_req) it then stays
	// until a read takes it. To avoid an endless loop, the second error in a row is read.
	if waits, _ := queued(rc); waits || w.failed {
		w.failed = false
		return nil
	}
	w.failed = true
	return err
}

func (w *waiter) readable(fd uintptr) bool {
	if w.waited || w.pending(windows.Handle(fd)) > 0 {
		return true
	}
	w.release()
	w.waited = true
	return false
}

// pending returns the length of the first datagram, or 0 if there is none.
func (w *waiter) pending(h windows.Handle) uint32 {
	const fionRead = 0x4004667f // winsock2.h
	w.length = 0
	if windows.WSAIoctl(h, fionRead, nil, 0, (*byte)(unsafe.Pointer(&w.length)), uint32(unsafe.Sizeof(w.length)), &w.returned, nil, 0) != nil {
		return 0
	}
	return w.length
}
