package cmsg

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

var bsds = map[string]*bsd{"macOS": &macOS, "FreeBSD": &freeBSD, "NetBSD": &netBSD, "OpenBSD": &openBSD, "DragonFly": &dragonFly}

// sockaddrDL is a struct sockaddr_dl of the loopback interface: sdl_len, AF_LINK,
// sdl_index, IFT_LOOP, sdl_nlen and the rest.
func sockaddrDL(size int) []byte {
	return append(memory(byte(size), byte(18), uint16(513), byte(24), byte(3), byte(0), byte(0), [3]byte{'l', 'o', '0'}), make([]byte, size-11)...)
}

// What ip_savecontrol and ip6_savecontrol of each system write: a TTL of IPv4 is a byte.
func TestMessagesOfTheBSDs(t *testing.T) {
	to4, to6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	index20 := sockaddrDL(20)
	for name, test := range map[string]struct {
		system *bsd
		b      []byte
		want   Received
	}{
		"macOS": {macOS.alignedTo(4), memory(
			uint32(16), int32(0), int32(7), to4.As4(),
			uint32(13), int32(0), int32(24), byte(64), 3,
			uint32(32), int32(0), int32(20), index20),
			Received{To: to4, Own: true, IfIndex: 513, TTL: 64}},
		"macOS, IPv6": {macOS.alignedTo(4), memory(
			uint32(32), int32(41), int32(46), to6.As16(), uint32(513),
			uint32(16), int32(41), int32(47), int32(64),
			uint32(16), int32(41), int32(36), int32(0xb9)),
			Received{To: to6, Own: true, IfIndex: 513, TTL: 64, TrafficClass: 0xb9, HasClass: true}},
		"FreeBSD": {freeBSD.alignedTo(8), memory(
			uint32(20), int32(0), int32(7), 4, to4.As4(), 4,
			uint32(17), int32(0), int32(65), 4, byte(64), 7,
			uint32(70), int32(0), int32(20), 4, sockaddrDL(54)), // no padding after the last message
			Received{To: to4, Own: true, IfIndex: 513, TTL: 64}},
		"FreeBSD, 386": {freeBSD.alignedTo(4), memory(
			uint32(16), int32(0), int32(7), to4.As4(),
			uint32(13), int32(0), int32(65), byte(64), 3),
			Received{To: to4, Own: true, TTL: 64}},
		"FreeBSD, IPv6": {freeBSD.alignedTo(8), memory(
			uint32(36), int32(41), int32(46), 4, to6.As16(), uint32(513), 4,
			uint32(20), int32(41), int32(47), 4, int32(64), 4,
			uint32(20), int32(41), int32(61), 4, int32(0xb9), 4),
			Received{To: to6, Own: true, IfIndex: 513, TTL: 64, TrafficClass: 0xb9, HasClass: true}},
		"FreeBSD, IPv4 to a socket of both families": {freeBSD.alignedTo(8), memory(
			uint32(36), int32(41), int32(46), 4, netip.AddrFrom16(to4.As16()).As16(), uint32(513), 4),
			Received{To: to4, Own: true, IfIndex: 513}},
		"OpenBSD": {openBSD.alignedTo(8), memory(
			uint32(20), int32(0), int32(7), 4, to4.As4(), 4,
			uint32(24), int32(0), int32(30), 4, index20[:8], // sdl_len without sdl_data
			uint32(17), int32(0), int32(31), 4, byte(64), 7),
			Received{To: to4, Own: true, IfIndex: 513, TTL: 64}},
		"OpenBSD, group": {openBSD.alignedTo(8), memory(
			uint32(20), int32(0), int32(7), 4, [4]byte{224, 0, 0, 251}, 4),
			Received{To: netip.MustParseAddr("224.0.0.251")}},
		"NetBSD": {netBSD.alignedTo(8), memory(
			uint32(20), int32(0), int32(7), 4, [4]byte{255, 255, 255, 255}, 4,
			uint32(36), int32(0), int32(20), 4, index20, 4,
			uint32(17), int32(0), int32(23), 4, byte(64), 7),
			Received{To: netip.MustParseAddr("255.255.255.255"), IfIndex: 513, TTL: 64}},
		"NetBSD, arm64": {netBSD.alignedTo(16), memory(
			uint32(20), int32(0), int32(7), 4, to4.As4(), 12,
			uint32(17), int32(0), int32(23), 4, byte(64), 15),
			Received{To: to4, Own: true, TTL: 64}},
		"DragonFly": {dragonFly.alignedTo(8), memory(
			uint32(32), int32(0xffff), int32(2), 4, [16]byte{1}, // SCM_TIMESTAMP
			uint32(20), int32(0), int32(7), 4, to4.As4(), 4,
			uint32(17), int32(0), int32(65), 4, byte(64), 7),
			Received{To: to4, Own: true, TTL: 64}},
	} {
		t.Run(name, func(t *testing.T) {
			var r Received
			require.True(t, test.system.parse(test.b, &r))
			require.Equal(t, test.want, r)
		})
	}
}

// What udp_output and ip6_setpktopts of each system accept: they reject data of another
// length, and most reject IPv4 types that they do not know.
func TestMessagesForTheBSDs(t *testing.T) {
	from4, from6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for name, test := range map[string]struct {
		system          *bsd
		source4, class4 []byte // nil: a message can't set it
		tclass          int32
	}{
		"macOS": {macOS.alignedTo(4), memory(uint32(24), int32(0), int32(26), uint32(0), from4.As4(), 4),
			memory(uint32(16), int32(0), int32(3), int32(0xb9)), 36},
		"FreeBSD": {freeBSD.alignedTo(8), memory(uint32(20), int32(0), int32(7), 4, from4.As4(), 4),
			memory(uint32(17), int32(0), int32(3), 4, byte(0xb9), 7), 61},
		"FreeBSD, arm":   {freeBSD.alignedTo(4), memory(uint32(16), int32(0), int32(7), from4.As4()), memory(uint32(13), int32(0), int32(3), byte(0xb9), 3), 61},
		"OpenBSD":        {openBSD.alignedTo(8), memory(uint32(20), int32(0), int32(7), 4, from4.As4(), 4), nil, 61},
		"NetBSD, arm64":  {netBSD.alignedTo(16), memory(uint32(20), int32(0), int32(7), 4, from4.As4(), 12), nil, 61},
		"DragonFly":      {dragonFly.alignedTo(8), memory(uint32(20), int32(0), int32(7), 4, from4.As4(), 4), nil, 61},
		"DragonFly, 5.6": {dragonFly.alignedTo(4), memory(uint32(16), int32(0), int32(7), from4.As4()), nil, 61},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.system
			require.Equal(t, test.source4, s.addSource(nil, from4))
			class, ok := s.addClass(nil, 0xb9, false)
			require.Equal(t, test.class4, class)
			require.Equal(t, test.class4 != nil, ok)
			_, ok = s.addTTL(nil, 9, false)
			require.False(t, ok, "a TTL of IPv4")
			_, ok = s.addInterface(nil, from4, 7, false)
			require.False(t, ok, "an interface of IPv4")

			pad := s.data() - s.header()
			rest := s.aligned(s.data()+20) - (s.data() + 20)
			info := memory(uint32(s.data()+20), int32(41), int32(46), pad, from6.As16(), uint32(7), rest)
			got, ok := s.addInterface(nil, from6, 7, true)
			require.True(t, ok)
			require.Equal(t, info, got)
			rest = s.aligned(s.data()+4) - (s.data() + 4)
			class, ok = s.addClass(nil, 0xb9, true)
			require.True(t, ok)
			require.Equal(t, memory(uint32(s.data()+4), int32(41), test.tclass, pad, int32(0xb9), rest), class)
			hops, ok := s.addTTL(nil, 9, true)
			require.True(t, ok)
			require.Equal(t, memory(uint32(s.data()+4), int32(41), int32(47), pad, int32(9), rest), hops)
		})
	}
}

// The options that ask for these messages.
func TestOptionsThatAskForMessages(t *testing.T) {
	for name, test := range map[string]struct{ got, want Wanted }{
		"macOS":           {macOS.wanted(false), Wanted{Destination: 7, Others: []int{20, 24}}},
		"macOS, IPv6":     {macOS.wanted(true), Wanted{Level: 41, Destination: 61, Others: []int{37, 35}}},
		"FreeBSD":         {freeBSD.wanted(false), Wanted{Destination: 7, Others: []int{20, 65}}},
		"FreeBSD, IPv6":   {freeBSD.wanted(true), Wanted{Level: 41, Destination: 36, Others: []int{37, 57}}},
		"DragonFly":       {dragonFly.wanted(false), Wanted{Destination: 7, Others: []int{20, 65}}},
		"DragonFly, IPv6": {dragonFly.wanted(true), Wanted{Level: 41, Destination: 36, Others: []int{37, 57}}},
		"NetBSD":          {netBSD.wanted(false), Wanted{Destination: 7, Others: []int{20, 23}}},
		"NetBSD, IPv6":    {netBSD.wanted(true), Wanted{Level: 41, Destination: 36, Others: []int{37, 57}}},
		"OpenBSD":         {openBSD.wanted(false), Wanted{Destination: 7, Others: []int{30, 31}}},
		"OpenBSD, IPv6":   {openBSD.wanted(true), Wanted{Level: 41, Destination: 36, Others: []int{37, 57}}},
		"Windows":         {winWanted(false), Wanted{Destination: 19, ECN: 50, Others: []int{21, 40}}},
		"Windows, IPv6":   {winWanted(true), Wanted{Level: 41, Destination: 19, ECN: 50, Others: []int{21, 40}}},
	} {
		require.Equal(t, test.want, test.got, name)
	}
}

// Sending reads the same values from the messages that are appended for a datagram.
func TestWhatIsWrittenForTheBSDsIsRead(t *testing.T) {
	for name, system := range bsds {
		for _, align := range []int{4, 8, 16} {
			s := system.alignedTo(align)
			for _, from := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
				v6 := from.Is6()
				b, interfaces := s.addInterface(nil, from, 7, v6)
				if !interfaces {
					b = s.addSource(b, from)
				}
				b, classes := s.addClass(b, 0xb9, v6)
				b, ttls := s.addTTL(b, 77, v6)
				want := Sending{From: from, HasClass: classes}
				if interfaces {
					want.IfIndex = 7
				}
				if classes {
					want.TrafficClass = 0xb9
				}
				if ttls {
					want.TTL = 77
				}
				var got Sending
				require.True(t, s.parseSending(b, &got), "%s, %d", name, align)
				require.Equal(t, want, got, "%s, %d", name, align)
			}
			unknown, _ := s.add(nil, 0, 99, 4)
			require.False(t, s.parseSending(unknown, new(Sending)), "a message that is not known is ignored")
		}
	}
}

// Put writes all that the system reports, if it fits.
func TestHeadersOfAllSystemsAreRead(t *testing.T) {
	for _, l := range layouts {
		for name, s := range systemsOf(l) {
			for _, to := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
				h := Header{To: to, Own: true, IfIndex: 513, TTL: 64, TrafficClass: 0xb9, HasClass: true, IPv4: to.Is4()}
				want := Received{To: to, Own: true, IfIndex: 513, TTL: 64, TrafficClass: 0xb9, HasClass: true}
				if _, windows := s.(winsock); to.Is4() && !windows { // the BSDs do not report it
					want.TrafficClass, want.HasClass = 0, false
				}
				full := make([]byte, 256)
				n, all := s.putHeader(&h, full)
				require.True(t, all, "%s: there is no room", name)
				var r Received
				require.True(t, s.parse(full[:n], &r), name)
				require.Equal(t, want, r, name)
				for size := range n {
					b := make([]byte, size, len(full)) // it must not use the capacity
					had, all := s.putHeader(&h, b)
					require.False(t, size > 0 && all || had > size, "%s: %d of %d bytes, all %v", name, had, size, all)
					require.True(t, s.parse(b[:had], new(Received)), name)
				}
			}
		}
	}
}

// FuzzBSD: for any bytes, neither parser panics, reads beyond them or reports impossible values.
func FuzzBSD(f *testing.F) {
	for _, l := range layouts {
		for _, s := range bsds {
			s := s.alignedTo(l.align)
			b := s.addSource(nil, netip.MustParseAddr("192.0.2.1"))
			b, _ = s.addInterface(b, netip.MustParseAddr("2001:db8::1"), 7, true)
			b, _ = s.addTTL(b, 9, true)
			f.Add(b, uint8(l.align))
			header := make([]byte, 256)
			n, _ := s.putHeader(&Header{To: netip.MustParseAddr("192.0.2.1"), IfIndex: 7, TTL: 9, IPv4: true, Both: true}, header)
			f.Add(header[:n], uint8(l.align))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, align uint8) {
		exact := make([]byte, len(b)) // so that a read beyond it panics
		copy(exact, b)
		for name, system := range bsds {
			s := system.alignedTo(4 << (align / 8 % 3)) // 4, 8 or 16
			var r Received
			s.parse(exact, &r)
			if r.To.Is4In6() || r.Own && r.To.IsMulticast() || r.IfIndex < 0 {
				t.Errorf("%s: impossible: %+v", name, r)
			}
			var out Sending
			ok := s.parseSending(exact, &out)
			if out.From.Is4In6() || out.From.IsValid() && out.From.IsUnspecified() || out.IfIndex < 0 {
				t.Errorf("%s: impossible: %+v", name, out)
			}
			if ok && out.From.Is6() { // what it has read, it can write
				again, _ := s.addInterface(nil, out.From, out.IfIndex, true)
				var same Sending
				if !s.parseSending(again, &same) || same.From != out.From || same.IfIndex != out.IfIndex {
					t.Errorf("%s: %+v, then %+v", name, out, same)
				}
			}
		}
	})
}
