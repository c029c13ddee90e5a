package cmsg

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Space is enough for all the control messages that a socket of this module
// enables. An IPv4 datagram on a socket of both families has the most,
// 208 bytes. Options that others set on the socket may need more.
const Space = 256

// OwnMayBeBroadcast: Linux reports both the destination and the address of the interface.
const OwnMayBeBroadcast = false

const (
	msgTrunc  = unix.MSG_TRUNC
	msgCtrunc = unix.MSG_CTRUNC
)

var (
	native  = layout{length: unix.SizeofCmsghdr - 8, align: unix.SizeofPtr}
	native6 = ipv6{unix.IPV6_PKTINFO, unix.IPV6_TCLASS, unix.IPV6_HOPLIMIT}
)

func parse(b []byte, r *Received) bool {
	for len(b) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b) // faster than next
		if err != nil {
			return false
		}
		switch {
		case h.Level == unix.IPPROTO_IP:
			parseIPv4(h.Type, data, r)
		case h.Level != unix.IPPROTO_IPV6:
			parseSystem(h.Level, h.Type, data, r)
		case !native6.parse(h.Type, data, r) && h.Type == unix.IPV6_ORIGDSTADDR && len(data) >= 24:
			r.Port = binary.BigEndian.Uint16(data[2:]) // struct sockaddr_in6
		}
		b = rest
	}
	return true
}

func parseIPv4(typ int32, data []byte, r *Received) {
	switch {
	case typ == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		// struct in_pktinfo {
		//	unsigned int   ipi_ifindex;
		//	struct in_addr ipi_spec_dst; // address a reply would leave from
		//	struct in_addr ipi_addr;     // destination in the header
		// };
		r.IfIndex = int(ne.Uint32(data))
		r.To = netip.AddrFrom4([4]byte(data[8:12]))
		// For a broadcast, ipi_spec_dst is an address of this host and ipi_addr the broadcast's.
		r.Own = [4]byte(data[4:8]) == [4]byte(data[8:12])
	case typ == unix.IP_TOS:
		r.TrafficClass, r.HasClass = octet(data)
	case typ == unix.IP_TTL:
		r.TTL, _ = octet(data)
	case typ == unix.IP_ORIGDSTADDR && len(data) >= 8:
		// struct sockaddr_in; its address is also that of IP_PKTINFO.
		r.Port = binary.BigEndian.Uint16(data[2:])
	}
}

func parseSystem(level, typ int32, data []byte, r *Received) {
	switch {
	case level == unix.SOL_UDP && typ == unix.UDP_GRO && len(data) >= 4:
		if n := int32(ne.Uint32(data)); n > 0 {
			r.Segment = int(n)
		}
	case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPNS && len(data) >= 16:
		// SCM_TIMESTAMPNS on 64-bit systems. On 32-bit ones sockets enable the _NEW
		// form (Linux 5.1), whose fields have 64 bits there too.
		r.Time = time.Unix(int64(ne.Uint64(data)), int64(ne.Uint64(data[8:])))
	case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPNS && len(data) >= 8:
		// 32-bit systems, if the program has also set SO_TIMESTAMPING: that switches
		// back to the old form.
		r.Time = time.Unix(int64(int32(ne.Uint32(data))), int64(ne.Uint32(data[4:])))
	case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPNS_NEW && len(data) >= 16:
		r.Time = time.Unix(int64(ne.Uint64(data)), int64(ne.Uint64(data[8:])))
	}
}

func appendSource(b []byte, src netip.Addr) []byte {
	b, _ = appendInterface(b, src, 0, !src.Is4())
	return b
}

func appendInterface(b []byte, src netip.Addr, ifindex int, v6 bool) ([]byte, bool) {
	if v6 {
		return native6.addPktinfo(native, b, src, ifindex), true
	}
	b, data := native.add(b, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	ne.PutUint32(data, uint32(ifindex))
	if src.Is4() {
		a := src.As4()
		copy(data[4:8], a[:])
	}
	return b, true
}

func appendTrafficClass(b []byte, class uint8, v6 bool) ([]byte, bool) {
	if v6 {
		return native.addUint32(b, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, uint32(class)), true
	}
	b, data := native.add(b, unix.IPPROTO_IP, unix.IP_TOS, 1)
	data[0] = class
	return b, true
}

// appendTTL appends IP_TTL (Linux 3.13) or IPV6_HOPLIMIT.
func appendTTL(b []byte, ttl uint8, v6 bool) ([]byte, bool) {
	if v6 {
		return native.addUint32(b, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, uint32(ttl)), true
	}
	return native.addUint32(b, unix.IPPROTO_IP, unix.IP_TTL, uint32(ttl)), true
}

// AppendSegment appends UDP_SEGMENT (Linux 4.18): the kernel cuts the payload into
// datagrams of n bytes, of which the last may be shorter.
func AppendSegment(b []byte, n uint16) []byte {
	b, data := native.add(b, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
	ne.PutUint16(data, n)
	return b
}
