package cmsg

import (
	"math/bits"
	"net/netip"
)

// Space is enough for all the control messages that a socket of this module
// enables.
const Space = 256

// OwnMayBeBroadcast: the system does not report whether a destination is the broadcast
// address of a network, so Received.Own is true for those too.
const OwnMayBeBroadcast = true

var native = winsockOf(bits.UintSize / 8)

// WantedOptions returns the options to set on a socket.
func WantedOptions(v6 bool) Wanted { return winWanted(v6) }

func parse(b []byte, r *Received) bool { return native.parse(b, r) }

func appendSource(b []byte, src netip.Addr) []byte {
	return native.addPktinfo(b, src, 0, src.Is6())
}

func appendInterface(b []byte, src netip.Addr, ifindex int, v6 bool) ([]byte, bool) {
	return native.addPktinfo(b, src, ifindex, v6), true
}

func appendTrafficClass(b []byte, class uint8, v6 bool) ([]byte, bool) {
	return native.addClass(b, class, v6)
}

// appendTTL appends nothing: on Windows only the socket has a TTL.
func appendTTL(b []byte, _ uint8, _ bool) ([]byte, bool) { return b, false }

// Flags of WSAMSG.
const (
	msgTrunc  = 0x100
	msgCtrunc = 0x200
)

func (h *Header) put(b []byte) (n int, all bool) { return native.putHeader(h, b) }
func (s *Sending) parse(b []byte) bool           { return native.parseSending(b, s) }

// AppendSegment appends UDP_SEND_MSG_SIZE: the system cuts the payload into datagrams of size
// bytes, of which the last may be shorter.
func AppendSegment(b []byte, size uint16) []byte { return native.addSegment(b, uint32(size)) }
