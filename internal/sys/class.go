package sys

import (
	"errors"
	"net"
	"os"
)

// Class is the kind of an error, as far as readers and senders treat it differently.
type Class int

const (
	Other       Class = iota // unknown: count and report it, pause, continue
	Closed                   // the socket is closed
	Deadline                 // a deadline passed
	Report                   // an ICMP message about an earlier datagram
	Unreachable              // an ICMP message, or no route for this datagram
	TooLarge                 // the datagram exceeds the longest payload or the path MTU
	NoBuffers                // the system is short of memory
	Again                    // try again at once
	Denied                   // a firewall dropped the datagram
	NoPeer                   // the socket is not connected
	Down                     // the interface, the address or its family is missing
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
