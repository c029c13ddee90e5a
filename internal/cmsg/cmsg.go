// Package cmsg reads and writes the control messages that travel beside a
// datagram (RFC 3542, section 4; cmsg(3)). It takes bytes and gives values: no
// socket is needed to test it.
package cmsg

import (
	"net/netip"
	"time"
)

// Received is what the control messages of one read say.
type Received struct {
	To                netip.Addr // destination in the IP header, never 4-in-6; invalid where not told
	Own               bool       // To is one of this host's addresses
	IfIndex           int
	TTL, TrafficClass uint8 // of the IP header, 0 where not told
	Time              time.Time
	Segment           int // UDP_GRO: length of each datagram of a train, 0: no train
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

// AppendECN appends the message that sets the two ECN bits of the IP header.
func AppendECN(b []byte, ecn uint8, v6 bool) []byte { return appendECN(b, ecn, v6) }
