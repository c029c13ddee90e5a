//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package cmsg

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Space is enough for all the control messages that a socket of this module
// enables. Options that others set on the socket may need more.
const Space = 256

// OwnMayBeBroadcast: the system does not report whether a destination is the broadcast
// address of a network, so Received.Own is true for those too.
const OwnMayBeBroadcast = true

const (
	msgTrunc  = unix.MSG_TRUNC
	msgCtrunc = unix.MSG_CTRUNC
)

// native is this system, with the alignment of this processor and release.
var native = system.alignedTo(unix.CmsgSpace(1) - unix.CmsgLen(0))

// WantedOptions returns the options to set on a socket.
func WantedOptions(v6 bool) Wanted { return native.wanted(v6) }

func parse(b []byte, r *Received) bool { return native.parse(b, r) }

func appendSource(b []byte, src netip.Addr) []byte { return native.addSource(b, src) }

func appendInterface(b []byte, src netip.Addr, ifindex int, v6 bool) ([]byte, bool) {
	return native.addInterface(b, src, ifindex, v6)
}

func appendTrafficClass(b []byte, class uint8, v6 bool) ([]byte, bool) {
	return native.addClass(b, class, v6)
}

func appendTTL(b []byte, ttl uint8, v6 bool) ([]byte, bool) { return native.addTTL(b, ttl, v6) }

func (h *Header) put(b []byte) (n int, all bool) { return native.putHeader(h, b) }
func (s *Sending) parse(b []byte) bool           { return native.parseSending(b, s) }

// If a number of bsd.go differs from the system's, this does not compile: the array has no
// element but the first. The file of each system compares the other numbers.
var _ = [...]struct{}{
	[1]struct{}{}[unix.IPPROTO_IP-levelIP],
	[1]struct{}{}[unix.IPPROTO_UDP-levelUDP],
	[1]struct{}{}[unix.IPPROTO_IPV6-levelIPv6],
	[1]struct{}{}[unix.IP_TOS-bsdTOS],
	[1]struct{}{}[unix.IP_RECVDSTADDR-bsdRecvDstAddr],
	[1]struct{}{}[unix.IPV6_PKTINFO-bsdPktinfo6],
	[1]struct{}{}[unix.IPV6_HOPLIMIT-bsdHopLimit],
	[1]struct{}{}[unix.IPV6_RECVHOPLIMIT-bsdRecvHopLimit],
	[1]struct{}{}[unix.SizeofInet6Pktinfo-sizeofPktinfo6],
	[1]struct{}{}[unix.SizeofCmsghdr-cmsghdrBSD],
}
