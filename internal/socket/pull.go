package socket

import (
	"os"
	"time"
)

// A Pulled is a Socket made with Options.Pulled: nobody calls Serve, and whoever
// wants datagrams reads them.
type Pulled interface {
	Socket

	// Puller returns what reads the socket. It is called once.
	Puller() Puller
	SetReadDeadline(t time.Time) error
	// SetReadBuffer and SetWriteBuffer ask for another size, in bytes.
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
	// Uncoalesced makes each message that the system gives from now on a single
	// datagram, for those who read the descriptor themselves.
	Uncoalesced() error
	// File returns a copy of the descriptor.
	File() (*os.File, error)
}

// A Puller reads a socket. It is used by one goroutine at a time.
type Puller interface {
	// Pull waits until something has arrived, or until the read deadline, and returns
	// what one system call brought. The packets are the caller's until Done. After
	// Wake it returns neither packets nor an error. An ICMP error is a *ReportError
	// where the system reports more than its number.
	//
	// If into is not empty, Pull may read a single datagram into it: the packet then has
	// no Buf, and Cut is what did not fit. Such a packet has no fields that come from
	// control messages, unless withControl is set.
	Pull(into []byte, withControl bool) ([]Packet, error)
	// Done gives back what Pull has returned.
	Done()
}

// A ReportError is a Report as the error of a read.
type ReportError struct{ Report }

// Error implements error.
func (e *ReportError) Error() string { return e.Err.Error() }

// Unwrap returns the errno.
func (e *ReportError) Unwrap() error { return e.Err }
