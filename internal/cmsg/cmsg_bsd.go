//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package cmsg

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// OwnMayBeBroadcast: the system does not say whether a destination is the broadcast
// address of a network, so Received.Own is true for these too.
const OwnMayBeBroadcast = true

// The BSDs tell the destination with IP_RECVDSTADDR, whose type also is the
// name under which FreeBSD, OpenBSD and DragonFly take a source (there called
// IP_SENDSRCADDR). macOS has it for reading and takes a source as IP_PKTINFO.
func parseIPv4(typ int, data []byte, r *Received) {
	switch {
	case typ == unix.IP_RECVDSTADDR && len(data) >= 4:
		r.To = netip.AddrFrom4([4]byte(data[:4]))
		r.Own = !r.To.IsMulticast() && r.To != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	case typ == unix.IP_RECVIF && len(data) >= 4:
		// struct sockaddr_dl { u_char sdl_len; u_char sdl_family; u_short sdl_index; ... };
		r.IfIndex = int(ne.Uint16(data[2:]))
	case typ == unix.IP_RECVTTL && len(data) >= 1:
		r.TTL = data[0]
	}
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
