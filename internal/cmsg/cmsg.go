// Package cmsg reads and writes the control messages that travel beside a
// datagram (RFC 3542, section 4; cmsg(3)). It takes bytes and gives values: no
// socket is needed to test it.
package cmsg

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// ne is the byte order of the kernel's structures.
var ne = binary.NativeEndian

// Received is what the control messages of one read say.
type Received struct {
	To                netip.Addr // destination in the IP header, never 4-in-6; invalid where not told
	Port              uint16     // destination port, where it may be another than the socket's (IP_RECVORIGDSTADDR)
	Own               bool       // To is one of this host's addresses
	IfIndex           int
	TTL, TrafficClass uint8 // of the IP header, 0 where not told
	Time              time.Time
	Segment           int  // UDP_GRO: length of each datagram of a coalesced packet, 0: it is a single one
	HasClass          bool // TrafficClass was told
}

// Wanted names the socket options of one family that make a system send the messages that
// Parse reads. Each is set to 1.
type Wanted struct {
	Level       int
	Destination int   // Received.To
	ECN         int   // the ECN alone, 0: none of this kind
	Others      []int // what may fail
}

// Parse reads all of b into r. Messages it does not know are skipped; it
// returns false when b is malformed, and what it read up to there stays in r.
func Parse(b []byte, r *Received) bool { return parse(b, r) }

// AppendSource appends the message that makes a datagram leave from src, for a
// socket whose peer is of src's own family. Where the system has no such
// message b comes back as it was.
func AppendSource(b []byte, src netip.Addr) []byte { return appendSource(b, src) }

// AppendInterface appends the message that makes a datagram leave by an
// interface, and from src unless that is invalid; v6 is the family of its
// destination. Where the system has no such message ok is false.
func AppendInterface(b []byte, src netip.Addr, ifindex int, v6 bool) (all []byte, ok bool) {
	return appendInterface(b, src, ifindex, v6)
}

// AppendTrafficClass appends the message that sets the traffic class (TOS) of the IP
// header, DSCP and ECN together; v6 is the family of the destination. Where the
// system has no such message ok is false.
func AppendTrafficClass(b []byte, class uint8, v6 bool) (all []byte, ok bool) {
	return appendTrafficClass(b, class, v6)
}

// AppendTTL appends the message that sets the TTL or hop limit; v6 is the family of
// the destination. Where the system has no such message ok is false.
func AppendTTL(b []byte, ttl uint8, v6 bool) (all []byte, ok bool) { return appendTTL(b, ttl, v6) }

// Truncated says whether the flags of a read tell that there was no room for all of
// its control messages.
func Truncated(flags int) bool { return flags&msgCtrunc != 0 }
