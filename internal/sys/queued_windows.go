package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// pollFD is WSAPOLLFD.
type pollFD struct {
	fd              uintptr
	events, revents int16
}

const pollRdNorm = 0x100 // POLLRDNORM

var wsaPoll = windows.NewLazySystemDLL("ws2_32.dll").NewProc("WSAPoll")

// queued reports whether a read would return at once, with a datagram or an error.
func queued(rc syscall.RawConn) (waits, known bool) {
	err := rc.Control(func(fd uintptr) {
		p := pollFD{fd: fd, events: pollRdNorm}
		n, _, _ := wsaPoll.Call(uintptr(unsafe.Pointer(&p)), 1, 0)
		waits = int32(n) != 0
	})
	return waits, err == nil
}

// discardErrors bounds the failed reads while discarding.
const discardErrors = 1 << 10

// Discard implements socket.Socket.
func (c *Conn) Discard() (n int) {
	_ = onFD(c.rc, func(h windows.Handle) error {
		event, err := windows.CreateEvent(nil, 1, 0, nil)
		if err != nil {
			return err
		}
		defer windows.CloseHandle(event)
		size, _ := windows.GetsockoptInt(h, windows.SOL_SOCKET, windows.SO_RCVBUF)
		for errs := 0; n < size/minSkb && errs < discardErrors; {
			switch err := receiveNow(h, event); err {
			case nil, windows.WSAEMSGSIZE:
				n++
			case windows.ERROR_OPERATION_ABORTED:
				return nil
			default:
				if Classify(err) == Closed {
					return nil
				}
				errs++ // an ICMP message's; datagrams may follow
			}
		}
		return nil
	})
	return n
}

// receiveNow discards one datagram, or fails with ERROR_OPERATION_ABORTED if there is none. It
// starts an overlapped read and cancels it if that would wait, which happens if another process
// reads the same socket.
func receiveNow(h, event windows.Handle) error {
	var (
		none [1]byte
		n    uint32
		read = &struct {
			windows.Overlapped
			buf   windows.WSABuf
			flags uint32
		}{
			Overlapped: windows.Overlapped{HEvent: event | 1}, // so that the completion port gets no notification
			buf:        windows.WSABuf{Len: 1, Buf: &none[0]},
		}
	)
	err := windows.WSARecv(h, &read.buf, 1, &n, &read.flags, &read.Overlapped, nil)
	if err == windows.ERROR_IO_PENDING {
		_ = windows.CancelIoEx(h, &read.Overlapped)
		err = windows.GetOverlappedResult(h, &read.Overlapped, &n, true)
	}
	return err
}
