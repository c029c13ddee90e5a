package cmsg

import "net/netip"

// This file has the control messages that programs read and write themselves, as with
// (*net.UDPConn).ReadMsgUDP and WriteMsgUDP.

// A Header has what control messages report about a received datagram.
type Header struct {
	To           netip.Addr // invalid: unknown
	Own          bool       // To is one of this host's addresses
	IfIndex      int
	TTL          uint8 // 0: unknown
	TrafficClass uint8
	HasClass     bool
	IPv4         bool // the datagram is of IPv4
	Both         bool // the socket has both families
}

// Put writes h into b, as the system does for a program that has enabled all these
// messages, and returns their length. Messages that do not fit are left out, and all is
// then false. With an empty b, all is true: the program wants none.
func (h *Header) Put(b []byte) (n int, all bool) { return h.put(b) }

// Sending has the values of the control messages that a program passes with a datagram.
type Sending struct {
	From         netip.Addr // invalid: not set
	IfIndex      int        // 0: not set
	TTL          uint8      // 0: not set
	TrafficClass uint8
	HasClass     bool
	Segment      int // size of segments (UDP_SEGMENT); 0: a single datagram
}

// Parse reads all of b into s. It returns false if b is malformed or has a message that
// Parse does not know.
func (s *Sending) Parse(b []byte) bool { return s.parse(b) }

func (s *Sending) leaveFrom(a netip.Addr, ifindex int) {
	if a = a.Unmap(); !a.IsUnspecified() {
		s.From = a
	}
	s.IfIndex = ifindex
}

// class reads a traffic class.
func (s *Sending) class(data []byte) (ok bool) {
	s.TrafficClass, ok = octet(data)
	s.HasClass = ok
	return ok
}

// Flags of a message that was read.
const (
	DataTruncated    = msgTrunc  // the datagram did not fit
	ControlTruncated = msgCtrunc // some control messages did not fit
)
