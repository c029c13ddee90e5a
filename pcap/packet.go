package pcap

import (
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/udpkit/udp"
)

// builder makes IP packets of datagrams. What it returns is valid until its next use.
type builder struct {
	buf, quoted gopacket.SerializeBuffer
}

const (
	unknownTTL = 64    // in place of one that the system does not report
	maxUDP     = 65527 // payload of a UDP datagram; IPv4 carries 20 bytes less
)

// head is what the headers of a packet say.
type head struct {
	src, dst   netip.AddrPort
	ttl, class uint8
}

// normal gives both addresses the family of the peer, without a zone: a socket bound to all
// addresses of both families has one of IPv6.
func (h head) normal(peer netip.Addr) head {
	peer = peer.Unmap()
	fit := func(a netip.AddrPort) netip.AddrPort {
		ip := a.Addr().Unmap().WithZone("")
		if !ip.IsValid() || ip.Is4() != peer.Is4() {
			if ip = netip.IPv6Unspecified(); peer.Is4() {
				ip = netip.IPv4Unspecified()
			}
		}
		return netip.AddrPortFrom(ip, a.Port())
	}
	h.src, h.dst = fit(h.src), fit(h.dst)
	if h.ttl == 0 {
		h.ttl = unknownTTL
	}
	return h
}

// network returns the IP header, for a payload of the protocol of that family.
func (h head) network(v4, v6 layers.IPProtocol) (gopacket.NetworkLayer, gopacket.SerializableLayer, layers.IPProtocol) {
	src, dst := h.src.Addr().AsSlice(), h.dst.Addr().AsSlice()
	if h.src.Addr().Is4() {
		ip := &layers.IPv4{Version: 4, TTL: h.ttl, TOS: h.class, Protocol: v4, SrcIP: src, DstIP: dst}
		return ip, ip, v4
	}
	ip := &layers.IPv6{Version: 6, HopLimit: h.ttl, TrafficClass: h.class, NextHeader: v6, SrcIP: src, DstIP: dst}
	return ip, ip, v6
}

var complete = gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}

// datagram returns a UDP packet and the length of its headers.
func (b *builder) datagram(h head, data []byte) (packet []byte, header int, err error) {
	if b.buf == nil {
		b.buf, b.quoted = gopacket.NewSerializeBuffer(), gopacket.NewSerializeBuffer()
	}
	return datagram(b.buf, h, data)
}

func datagram(buf gopacket.SerializeBuffer, h head, data []byte) (packet []byte, header int, err error) {
	network, ip, _ := h.network(layers.IPProtocolUDP, layers.IPProtocolUDP)
	header, most := 48, maxUDP
	if h.src.Addr().Is4() {
		header, most = 28, maxUDP-20
	}
	data = data[:min(len(data), most)]
	transport := &layers.UDP{SrcPort: layers.UDPPort(h.src.Port()), DstPort: layers.UDPPort(h.dst.Port())}
	if err := transport.SetNetworkLayerForChecksum(network); err != nil {
		return nil, 0, err
	}
	err = gopacket.SerializeLayers(buf, complete, ip, transport, gopacket.Payload(data))
	return buf.Bytes(), header, err
}

// icmp returns the ICMP error r, which came back to local, with the datagram that it is about.
// The system must have reported who sent it.
func (b *builder) icmp(local netip.AddrPort, r *udp.Refusal) ([]byte, error) {
	about := head{src: local, dst: r.Peer}.normal(r.Peer.Addr())
	if b.buf == nil {
		b.buf, b.quoted = gopacket.NewSerializeBuffer(), gopacket.NewSerializeBuffer()
	}
	quoted, _, err := datagram(b.quoted, about, r.Payload[:min(len(r.Payload), maxUDP-200)])
	if err != nil {
		return nil, err
	}
	h := head{src: netip.AddrPortFrom(r.Offender, 0), dst: about.src}.normal(r.Peer.Addr())
	network, ip, proto := h.network(layers.IPProtocolICMPv4, layers.IPProtocolICMPv6)
	if proto == layers.IPProtocolICMPv4 {
		m := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(r.Type, r.Code), Seq: uint16(r.MTU)}
		err = gopacket.SerializeLayers(b.buf, complete, ip, m, gopacket.Payload(quoted))
		return b.buf.Bytes(), err
	}
	m := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(r.Type, r.Code)}
	if err := m.SetNetworkLayerForChecksum(network); err != nil {
		return nil, err
	}
	mtu := []byte{byte(r.MTU >> 24), byte(r.MTU >> 16), byte(r.MTU >> 8), byte(r.MTU)}
	err = gopacket.SerializeLayers(b.buf, complete, ip, m, gopacket.Payload(append(mtu, quoted...)))
	return b.buf.Bytes(), err
}
