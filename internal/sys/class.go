package sys

import (
	"errors"
	"net"
	"os"
)

// Class is what an error of a socket means to a reader or a sender.
type Class int

const (
	Other       Class = iota // nothing known: count, tell, back off, go on
	Closed                   // the socket is gone
	Deadline                 // a deadline passed
	Report                   // an ICMP message about an earlier datagram
	Unreachable              // such a message, or no route for this datagram
	TooLarge                 // a datagram over the size or the path MTU
	NoBuffers                // the system is short of memory
	Again                    // try again at once
	Denied                   // a firewall dropped the datagram
	NoPeer                   // the socket is not connected
	Down                     // the interface, the address or its family is not there
)

func classifyPortable(err error) Class {
	switch {
	case errors.Is(err, net.ErrClosed):
		return Closed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Deadline
	}
	return Other
}
