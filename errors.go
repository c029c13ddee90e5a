package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/udpkit/udp/internal/sys"
)

// The errors of this package besides the system's own. A closed socket says
// [net.ErrClosed], a deadline [os.ErrDeadlineExceeded], what a system can't do
// [errors.ErrUnsupported]. Everything comes in a [*net.OpError] and is found by
// [errors.Is] and [errors.As].
var (
	// ErrRefused is what every [*Refusal] is.
	ErrRefused = errors.New("udp: datagram was refused")
	// ErrTooLarge says that a datagram is longer than UDP, or the path, carries.
	// It always comes in a [*SizeError].
	ErrTooLarge = errors.New("udp: datagram too large")
	// ErrFamily says that the socket can't send to addresses of that family.
	ErrFamily = errors.New("udp: address family does not fit the socket")
)

// errNoConn is for a Datagram that came by no socket.
var errNoConn error = &net.OpError{Op: "send", Net: "udp", Err: &net.AddrError{Err: "the datagram came by no socket"}}

// A SizeError is [ErrTooLarge] and EMSGSIZE with the sizes.
type SizeError struct {
	Size int // payload, bytes
	Max  int // the longest payload that would have been taken, 0 where unknown
	MTU  int // of the path, bytes with the IP header, 0 where unknown
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

// Is says that e is ErrTooLarge.
func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }

// Unwrap returns EMSGSIZE.
func (e *SizeError) Unwrap() error { return sys.EMSGSIZE }

// opError wraps err for a caller, as package net does; nil stays nil.
func (c *Conn) opError(op string, to netip.AddrPort, err error) error {
	if err == nil {
		return nil
	}
	e := &net.OpError{Op: op, Net: c.network, Source: c.LocalAddr(), Err: err}
	if !to.IsValid() {
		if p := c.peer.Load(); p != nil {
			to = *p
		}
	}
	if to.IsValid() {
		e.Addr = net.UDPAddrFromAddrPort(to)
	}
	return e
}

// opError wraps err where there is no socket yet.
func opError(op, network string, addr net.Addr, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: network, Addr: addr, Err: err}
}

// A ShutdownError says that [Conn.Shutdown] could not finish. It wraps what
// ended ctx.
type ShutdownError struct {
	Left  int   // datagrams read or queued in the kernel that were not handled; a train that is being handled counts whole
	Cause error // of the context
}

// Error implements error.
func (e *ShutdownError) Error() string {
	return fmt.Sprintf("%d datagrams left: %v", e.Left, e.Cause)
}

// Unwrap returns e.Cause.
func (e *ShutdownError) Unwrap() error { return e.Cause }
