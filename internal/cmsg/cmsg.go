// Package cmsg decodes and encodes the control messages of datagrams (RFC 3542,
// section 4; cmsg(3)). It works on bytes, so its tests need no socket.
package cmsg

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// ne is the byte order of the kernel's structures.
var ne = binary.NativeEndian

// Received has the values of the control messages of one read.
type Received struct {
	To                netip.Addr // destination in the IP header, never 4-in-6; invalid if unknown
	Port              uint16     // original destination port (IP_RECVORIGDSTADDR); 0: that of the socket
	Own               bool       // To is one of this host's addresses
	IfIndex           int
	TTL, TrafficClass uint8 // of the IP header, 0 if unknown
	Time              time.Time
	Segment           int  // length of the segments of a coalesced packet (UDP_GRO); 0: a single datagram
	HasClass          bool // TrafficClass is known
}

// Wanted has the socket options of one family that enable the messages that Parse reads.
// Each is set to 1.
type Wanted struct {
	Level       int
	Destination int   // Received.To
	ECN         int   // an option for the ECN alone; 0: the system has none
	Others      []int // setting these may fail
}

// Parse reads all of b into r and skips messages that it does not know. If b is
// malformed it returns false, and r has the values of the messages before.
func Parse(b []byte, r *Received) bool { return parse(b, r) }

// AppendSource appends the message that makes a datagram leave from src. The
// destination must be of src's family. If the system has no such message, it
// returns b unchanged.
func AppendSource(b []byte, src netip.Addr) []byte { return appendSource(b, src) }

// AppendInterface appends the message that makes a datagram leave by an
// interface, and from src unless that is invalid. v6 is the family of the
// destination. If the system has no such message, ok is false.
func AppendInterface(b []byte, src netip.Addr, ifindex int, v6 bool) (all []byte, ok bool) {
	return appendInterface(b, src, ifindex, v6)
}

// AppendTrafficClass appends the message that sets the traffic class (TOS) of the IP
// header, DSCP and ECN together. v6 is the family of the destination. If the system
// has no such message, ok is false.
func AppendTrafficClass(b []byte, class uint8, v6 bool) (all []byte, ok bool) {
	return appendTrafficClass(b, class, v6)
}

// AppendTTL appends the message that sets the TTL or hop limit. v6 is the family of
// the destination. If the system has no such message, ok is false.
func AppendTTL(b []byte, ttl uint8, v6 bool) (all []byte, ok bool) { return appendTTL(b, ttl, v6) }

// Truncated reports whether, by the flags of a read, some of its control messages did
// not fit.
func Truncated(flags int) bool { return flags&msgCtrunc != 0 }
