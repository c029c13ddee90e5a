package cmsg

import "net/netip"

// These are the control messages that programs read and write themselves, as with
// (*net.UDPConn).ReadMsgUDP and WriteMsgUDP.

// A Header is what control messages say about a received datagram.
type Header struct {
	To           netip.Addr // invalid: unknown
	Own          bool       // To is one of this host's addresses
	IfIndex      int
	TTL          uint8 // 0: unknown
	TrafficClass uint8
	HasClass     bool
	IPv4         bool // the family of the datagram
	Both         bool // the socket has both families
}

// Put writes h into b, as a system does for a program that has asked for all of it,
// and returns how many bytes that took. What has no room is left out: then all is
// false.
func (h *Header) Put(b []byte) (n int, all bool) { return h.put(b) }

// Sending is what the control messages of a datagram that a program sends ask for.
type Sending struct {
	From         netip.Addr // invalid: nothing
	IfIndex      int        // 0: nothing
	TTL          uint8      // 0: nothing
	TrafficClass uint8
	HasClass     bool
	Segment      int // UDP_SEGMENT, 0: a single datagram
}

// Parse reads all of b into s. It returns false when b is malformed, or has a message
// that it does not know.
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
	DataTruncated    = msgTrunc  // the datagram was longer
	ControlTruncated = msgCtrunc // there were more control messages
)
