//go:build unix && !aix && !solaris

package cmsg

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Space is enough for all the control messages that a socket of this package's
// users asks for. The most is 208 bytes, of an IPv4 datagram on a socket of both
// families. Options that others set on the socket may need more.
const Space = 256

func parse(b []byte, r *Received) bool {
	for len(b) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return false
		}
		switch h.Level {
		case unix.IPPROTO_IP:
			parseIPv4(int(h.Type), data, r)
		case unix.IPPROTO_IPV6:
			parseIPv6(int(h.Type), data, r)
		default:
			parseSystem(int(h.Level), int(h.Type), data, r)
		}
		b = rest
	}
	return true
}

func parseIPv6(typ int, data []byte, r *Received) {
	switch {
	case typ == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		// struct in6_pktinfo { struct in6_addr ipi6_addr; unsigned int ipi6_ifindex; };
		r.To = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		r.Own = !r.To.IsMulticast()
		r.IfIndex = int(ne.Uint32(data[16:]))
	case typ == unix.IPV6_TCLASS && len(data) >= 4:
		r.TrafficClass, r.HasClass = uint8(ne.Uint32(data)), true
	case typ == unix.IPV6_HOPLIMIT && len(data) >= 4:
		r.TTL = uint8(ne.Uint32(data))
	default:
		parseIPv6System(typ, data, r)
	}
}

func appendIPv6Source(b []byte, src netip.Addr) []byte {
	b, data := add(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	a := src.As16()
	copy(data, a[:])
	return b
}

func appendIPv6Interface(b []byte, src netip.Addr, ifindex int) []byte {
	b, data := add(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	if src.IsValid() {
		a := src.As16()
		copy(data, a[:])
	}
	ne.PutUint32(data[16:], uint32(ifindex))
	return b
}

func appendTrafficClass(b []byte, class uint8, v6 bool) ([]byte, bool) {
	if !v6 {
		return appendIPv4Class(b, class)
	}
	b, data := add(b, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4)
	ne.PutUint32(data, uint32(class))
	return b, true
}

func appendTTL(b []byte, ttl uint8, v6 bool) ([]byte, bool) {
	if !v6 {
		return appendIPv4TTL(b, ttl)
	}
	b, data := add(b, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, 4)
	ne.PutUint32(data, uint32(ttl))
	return b, true
}

func truncated(flags int) bool { return flags&unix.MSG_CTRUNC != 0 }

// add appends a control message with n zero bytes and returns those bytes too.
func add(b []byte, level, typ int32, n int) (all, data []byte) {
	start := len(b)
	for range unix.CmsgSpace(n) {
		b = append(b, 0)
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[start]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(n))
	at := start + unix.CmsgLen(0)
	return b, b[at : at+n]
}
