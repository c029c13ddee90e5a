package cmsg

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// OwnMayBeBroadcast: Linux tells both the destination and the address of the interface.
const OwnMayBeBroadcast = false

func parseIPv4(typ int, data []byte, r *Received) {
	switch {
	case typ == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		// struct in_pktinfo {
		//	unsigned int   ipi_ifindex;
		//	struct in_addr ipi_spec_dst; // address a reply would leave from
		//	struct in_addr ipi_addr;     // destination in the header
		// };
		r.IfIndex = int(ne.Uint32(data))
		r.To = netip.AddrFrom4([4]byte(data[8:12]))
		// A broadcast has our address in ipi_spec_dst and its own in ipi_addr.
		r.Own = [4]byte(data[4:8]) == [4]byte(data[8:12])
	case typ == unix.IP_TOS && len(data) >= 1:
		r.TrafficClass, r.HasClass = data[0], true
	case typ == unix.IP_TTL && len(data) >= 4:
		r.TTL = uint8(ne.Uint32(data))
	case typ == unix.IP_ORIGDSTADDR && len(data) >= 8:
		// struct sockaddr_in; its address is also that of IP_PKTINFO.
		r.Port = binary.BigEndian.Uint16(data[2:])
	}
}

func parseIPv6System(typ int, data []byte, r *Received) {
	if typ == unix.IPV6_ORIGDSTADDR && len(data) >= 24 {
		r.Port = binary.BigEndian.Uint16(data[2:]) // struct sockaddr_in6
	}
}

func parseSystem(level, typ int, data []byte, r *Received) {
	switch {
	case level == unix.SOL_UDP && typ == unix.UDP_GRO && len(data) >= 4:
		if n := int32(ne.Uint32(data)); n > 0 {
			r.Segment = int(n)
		}
	case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPNS && len(data) >= 16:
		// SCM_TIMESTAMPNS on 64-bit systems; 32-bit ones are asked for the _NEW
		// form, which is 64 bits wide there too (Linux 5.1).
		r.Time = time.Unix(int64(ne.Uint64(data)), int64(ne.Uint64(data[8:])))
	case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPNS && len(data) >= 8:
		// 32-bit systems, if the program has asked for SO_TIMESTAMPING beside it: that
		// switches back to the old form.
		r.Time = time.Unix(int64(int32(ne.Uint32(data))), int64(ne.Uint32(data[4:])))
	case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPNS_NEW && len(data) >= 16:
		r.Time = time.Unix(int64(ne.Uint64(data)), int64(ne.Uint64(data[8:])))
	}
}

func appendSource(b []byte, src netip.Addr) []byte {
	if !src.Is4() {
		return appendIPv6Source(b, src)
	}
	b, data := add(b, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	a := src.As4()
	copy(data[4:8], a[:])
	return b
}

func appendInterface(b []byte, src netip.Addr, ifindex int, v6 bool) ([]byte, bool) {
	if v6 {
		return appendIPv6Interface(b, src, ifindex), true
	}
	b, data := add(b, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	ne.PutUint32(data, uint32(ifindex))
	if src.Is4() {
		a := src.As4()
		copy(data[4:8], a[:])
	}
	return b, true
}

func appendIPv4Class(b []byte, class uint8) ([]byte, bool) {
	b, data := add(b, unix.IPPROTO_IP, unix.IP_TOS, 1)
	data[0] = class
	return b, true
}

// appendIPv4TTL: Linux 3.13.
func appendIPv4TTL(b []byte, ttl uint8) ([]byte, bool) {
	b, data := add(b, unix.IPPROTO_IP, unix.IP_TTL, 4)
	ne.PutUint32(data, uint32(ttl))
	return b, true
}

// AppendSegment appends UDP_SEGMENT: the payload is cut into segments, datagrams of
// n bytes each (Linux 4.18).
func AppendSegment(b []byte, n uint16) []byte {
	b, data := add(b, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
	ne.PutUint16(data, n)
	return b
}
