package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// Methods also return [net.ErrClosed] on a closed socket, [os.ErrDeadlineExceeded]
// after a deadline, [errors.ErrUnsupported] for what a system cannot do, and errnos of
// the system. Every error comes in a [*net.OpError]; [errors.Is] and [errors.As] find
// it.
var (
	// ErrRefused matches every [*Refusal].
	ErrRefused = errors.New("udp: datagram was refused")
	// ErrTooLarge means that a datagram is longer than UDP allows, or than the path
	// carries. It always comes in a [*SizeError].
	ErrTooLarge = send.ErrTooLarge
	// ErrFamily means that the socket cannot send to addresses of that family.
	ErrFamily = socket.ErrFamily
)

// errNoConn is the error of Reply on a Datagram that no socket received.
var errNoConn error = &net.AddrError{Err: "the datagram was not received by a socket"}

// A SizeError reports the size of a datagram that was too large, and the largest size
// possible. For [errors.Is] it is [ErrTooLarge] and EMSGSIZE.
type SizeError struct {
	Size int // payload, bytes
	Max  int // longest payload that could have been sent, 0 if unknown
	MTU  int // of the path, in bytes with the IP header, 0 if unknown
}

// Error implements error.
func (e *SizeError) Error() string {
	s := fmt.Sprintf("%d bytes: message too long", e.Size)
	if e.Max > 0 {
		s += fmt.Sprintf(", at most %d", e.Max)
	}
	if e.MTU > 0 {
		s += fmt.Sprintf(", path MTU %d", e.MTU)
	}
	return s
}

// Is reports whether target is ErrTooLarge.
func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }

// Unwrap returns EMSGSIZE.
func (e *SizeError) Unwrap() error { return sys.EMSGSIZE }

// opError wraps err for a caller, as package net does; nil stays nil.
func (c *Conn) opError(op string, to netip.AddrPort, err error) error {
	if err == nil {
		return nil
	}
	e := &net.OpError{Op: op, Net: c.network, Source: c.LocalAddr(), Err: err}
	if to = c.peer.Or(to); to.IsValid() {
		e.Addr = net.UDPAddrFromAddrPort(to)
	}
	return e
}

// ok reports whether c is a socket. A ConnectedConn or MulticastConn built by a user
// may have none; its methods then return an error, as in package net.
func (c *Conn) ok() bool { return c != nil && c.sock != nil }

func errNoSocket(op string) error { return opError(op, "udp", nil, errUnmade) }

var errUnmade = fmt.Errorf("socket must be created by Listen, Dial, ListenMulticast or Adopt: %w", os.ErrInvalid)

// closedChan is what Done and Closing return if there is no socket.
var closedChan = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// opError wraps err where there is no socket yet.
func opError(op, network string, addr net.Addr, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: network, Addr: addr, Err: err}
}

// A BatchError lists the messages that [Conn.SendBatch] could not send. errors.Is and
// errors.As examine the error of each.
type BatchError struct {
	Failed  []MessageError // in the order of the messages
	Untried int            // messages after the last of Failed that were not tried
}

// A MessageError is the error of one message of a batch.
type MessageError struct {
	Index int   // of the message
	Err   error // a [*net.OpError]
}

// Error implements error.
func (e *BatchError) Error() string {
	s := fmt.Sprintf("message %d: %v", e.Failed[0].Index, e.Failed[0].Err)
	if n := len(e.Failed) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	if e.Untried > 0 {
		s += fmt.Sprintf(" (%d not tried)", e.Untried)
	}
	return s
}

// Unwrap returns the errors of the messages.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f.Err
	}
	return errs
}

// add appends a failure; e may be nil.
func (e *BatchError) add(c *Conn, index int, to netip.AddrPort, err error) *BatchError {
	if e == nil {
		e = new(BatchError)
	}
	e.Failed = append(e.Failed, MessageError{index, c.opError("send", to, err)})
	return e
}
