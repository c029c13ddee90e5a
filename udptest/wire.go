package udptest

import (
	"encoding/binary"
	"net/netip"
)

// wire returns the bytes of the packet with its IP header.
func (p *packet) wire() []byte {
	var payload []byte
	proto := byte(17)
	src, dst := p.src.Addr(), p.dst.Addr()
	if p.refusal == nil {
		payload = udpWire(p.src, p.dst, p.data)
	} else {
		payload, proto = p.refusal.wire(src, dst, p.data), 1
		if dst.Is6() {
			proto = 58
		}
	}
	b := ipWire(src, dst, proto, p.ttl, p.class, len(payload))
	if p.unit > 0 && p.size() > p.unit && dst.Is4() { // sent in fragments, which a tap sees in one piece
		mayFragment(b)
	}
	return append(b, payload...)
}

func mayFragment(header []byte) {
	header[6] &^= dontFragment
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], checksum(0, header))
}

// dontFragment is set as on Linux (IP_PMTUDISC_WANT), unless a packet is longer than the path
// MTU.
const dontFragment = 0x40

func ipWire(src, dst netip.Addr, proto, ttl, class byte, length int) []byte {
	if dst.Is6() {
		h := make([]byte, header6, header6+length)
		h[0], h[1] = 6<<4|class>>4, class<<4
		binary.BigEndian.PutUint16(h[4:], uint16(length))
		h[6], h[7] = proto, ttl
		copy(h[8:], src.AsSlice())
		copy(h[24:], dst.AsSlice())
		return h
	}
	h := make([]byte, header4, header4+length)
	h[0], h[1] = 4<<4|header4/4, class
	binary.BigEndian.PutUint16(h[2:], uint16(header4+length))
	h[6] = dontFragment
	h[8], h[9] = ttl, proto
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(0, h))
	return h
}

func udpWire(src, dst netip.AddrPort, data []byte) []byte {
	b := make([]byte, headerUDP, headerUDP+len(data))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(headerUDP+len(data)))
	b = append(b, data...)
	sum := checksum(pseudo(src.Addr(), dst.Addr(), 17, len(b)), b)
	if sum == 0 {
		sum = 0xffff // RFC 768
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// wire returns the ICMP message: its header and the quoted datagram.
func (r *refusal) wire(src, dst netip.Addr, quoted []byte) []byte {
	b := []byte{r.typ, r.code, 0, 0, 0, 0, 0, 0}
	if dst.Is4() {
		binary.BigEndian.PutUint16(b[6:], uint16(r.mtu))
	} else {
		binary.BigEndian.PutUint32(b[4:], uint32(r.mtu))
	}
	datagram := udpWire(r.src, r.to, quoted)
	b = append(b, ipWire(r.src.Addr(), r.to.Addr(), 17, defaultTTL, 0, len(datagram))...)
	b = append(b, datagram...)
	sum := uint32(0)
	if dst.Is6() {
		sum = pseudo(src, dst, 58, len(b))
	}
	binary.BigEndian.PutUint16(b[2:], checksum(sum, b))
	return b
}

// pseudo returns the sum of the pseudo header (RFC 768; RFC 8200, section 8.1).
func pseudo(src, dst netip.Addr, proto byte, length int) uint32 {
	b := append(src.AsSlice(), dst.AsSlice()...)
	return add(uint32(proto)+uint32(length), b)
}

func add(sum uint32, b []byte) uint32 {
	for len(b) > 1 {
		sum += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// checksum returns the checksum of RFC 1071.
func checksum(sum uint32, b []byte) uint16 {
	sum = add(sum, b)
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
