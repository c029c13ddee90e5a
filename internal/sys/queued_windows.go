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

// queued says whether a read would return at once: a datagram waits, or an error.
func queued(rc syscall.RawConn) (waits, known bool) {
	err := rc.Control(func(fd uintptr) {
		p := pollFD{fd: fd, events: pollRdNorm}
		n, _, _ := wsaPoll.Call(uintptr(unsafe.Pointer(&p)), 1, 0)
		waits = int32(n) != 0
	})
	return waits, err == nil
}

// discardErrors is how many errors of reads are met while discarding, at most.
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
				errs++ // an ICMP message's; datagrams may lie behind
			}
		}
		return nil
	})
	return n
}

// receiveNow takes one datagram away, or fails with ERROR_OPERATION_ABORTED if there is
// none: an overlapped read that would wait is cancelled, so that another process that reads
// the same socket cannot make this one wait.
func receiveNow(h, event windows.Handle) error {
	var (
		none [1]byte
		n    uint32
		read = &struct {
			windows.Overlapped
			buf   windows.WSABuf
			flags uint32
		}{
			Overlapped: windows.Overlapped{HEvent: event | 1}, // so that the poller hears nothing of it
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
