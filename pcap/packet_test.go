package pcap

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// Whatever the addresses and payloads are, the packet decodes to them.
func TestPacketsOfAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	addrs := []netip.Addr{{}, netip.MustParseAddr("1.2.3.4"), netip.MustParseAddr("::ffff:1.2.3.4"), netip.MustParseAddr("0.0.0.0"),
		netip.MustParseAddr("::"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("ff02::1%1"), netip.MustParseAddr("255.255.255.255")}
	addr := func() netip.AddrPort { return netip.AddrPortFrom(addrs[r.IntN(len(addrs))], uint16(r.Uint32())) }
	sizes := []int{0, 1, 2, 1000, 65506, 65507, 65508, 65527, 65528, 70000}
	var b builder
	for range 2000 {
		h := head{addr(), addr(), uint8(r.Uint32()), uint8(r.Uint32())}
		peer := h.src
		if r.IntN(2) == 0 {
			peer = h.dst
		}
		data := make([]byte, sizes[r.IntN(len(sizes))])
		packet, header, err := b.datagram(h.normal(peer.Addr()), data)
		require.NoError(t, err)
		first := gopacket.LayerType(layers.LayerTypeIPv4)
		if packet[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
		p := gopacket.NewPacket(packet, first, gopacket.Default)
		require.Nil(t, p.ErrorLayer())
		u := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		require.EqualValues(t, h.src.Port(), u.SrcPort)
		require.Len(t, u.Payload, min(len(data), 65535-header+map[bool]int{true: 40}[header == 48]))
		require.Equal(t, peer.Addr().Unmap().Is4(), header == 28)

		f := &udp.Refusal{Peer: peer, Offender: addrs[r.IntN(len(addrs))], Type: uint8(r.Uint32()), Code: uint8(r.Uint32()), MTU: r.Int(), Payload: data}
		_, err = b.icmp(h.src, f)
		require.NoError(t, err)
	}
}

// A Refusal without a sender, and the zero Refusal, are recorded as well.
func TestRefusalsThatSayLittle(t *testing.T) {
	n := New(Config{Last: 10})
	c, err := udp.Listen(t.Context(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer func() { _ = c.Close(); <-c.Done() }()
	for _, r := range []*udp.Refusal{
		{}, {Peer: netip.MustParseAddrPort("1.2.3.4:5")}, {Peer: netip.MustParseAddrPort("1.2.3.4:5"), Offender: netip.MustParseAddr("::1")},
	} {
		n.refused(c, r)
	}
	require.NotNil(t, n.ring[2])
	require.Contains(t, n.ring[1].comment, "refused: udp: datagram to 1.2.3.4:5")
}

// One file has an interface for each socket, up to a bound.
func TestInterfacesAreBounded(t *testing.T) {
	f, err := newFile(discard{})
	require.NoError(t, err)
	for port := range uint16(3000) {
		require.NoError(t, f.write(&record{at: time.Now(), where: where{local: netip.AddrPortFrom(netip.IPv6Unspecified(), port)}}))
	}
	require.Len(t, f.ids, maxInterfaces)
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// An idle Capture costs the packet path a copy: nothing is allocated once the ring is full, but
// for what the headers need.
func BenchmarkReceived(b *testing.B) {
	n := New(Config{Snap: 256})
	c, err := udp.Listen(b.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(b, err)
	defer func() { _ = c.Close(); <-c.Done() }()
	d := udp.Datagram{Data: make([]byte, 100), From: netip.MustParseAddrPort("10.0.0.1:5")}
	b.ReportAllocs()
	for b.Loop() {
		n.received(c, d)
	}
}
