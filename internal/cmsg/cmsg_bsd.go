//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package cmsg

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// OwnMayBeBroadcast: the system does not say whether a destination is the broadcast
// address of a network, so Received.Own is true for these too.
const OwnMayBeBroadcast = true

func parseIPv4(typ int, data []byte, r *Received) {
	bsd{destination: unix.IP_RECVDSTADDR, iface: unix.IP_RECVIF, ttl: unix.IP_RECVTTL}.parse(typ, data, r)
}

func parseIPv6System(int, []byte, *Received) {}

func parseSystem(int, int, []byte, *Received) {}

func appendSource(b []byte, src netip.Addr) []byte {
	if !src.Is4() {
		return appendIPv6Source(b, src)
	}
	a := src.As4()
	return appendIPv4Source(b, a)
}

// appendInterface has nothing for IPv4: IP_PKTINFO is not what all of them take.
func appendInterface(b []byte, src netip.Addr, ifindex int, v6 bool) ([]byte, bool) {
	if !v6 {
		return b, false
	}
	return appendIPv6Interface(b, src, ifindex), true
}

// appendIPv4TTL: none of them takes IP_TTL as a control message.
func appendIPv4TTL(b []byte, _ uint8) ([]byte, bool) { return b, false }
