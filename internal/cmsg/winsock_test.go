package cmsg

import (
	"bytes"
	"net/netip"
	"testing"
)

// Lengths have the size of a pointer, and everything is padded to it.
func TestWindowsMessagesHaveMicrosoftsLayout(t *testing.T) {
	from4, from6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, test := range []struct{ want, got []byte }{
		{memory(uint64(24), int32(0), int32(19), from4.As4(), uint32(7)), winsockOf(8).addPktinfo(nil, from4, 7, false)},
		{memory(uint64(36), int32(41), int32(19), from6.As16(), uint32(7), 4), winsockOf(8).addPktinfo(nil, from6, 7, true)},
		{memory(uint64(20), int32(17), int32(2), uint32(1000), 4), winsockOf(8).addSegment(nil, 1000)},
		{memory(uint32(16), int32(17), int32(2), uint32(1000)), winsockOf(4).addSegment(nil, 1000)},
		{memory(uint32(20), int32(0), int32(19), 4, uint32(7)), winsockOf(4).addPktinfo(nil, netip.Addr{}, 7, false)},
	} {
		if !bytes.Equal(test.got, test.want) {
			t.Errorf("got %x, want %x", test.got, test.want)
		}
	}
}

func TestWindowsMessagesAreRead(t *testing.T) {
	for _, w := range []winsock{winsockOf(4), winsockOf(8)} {
		for _, test := range []struct {
			address string
			level   int32
			typ     int32 // of the hop limit
			class   int32
		}{
			{"192.0.2.1", levelIP, winTTL, winTOS},
			{"192.0.2.1", levelIP, winHopLimit, winTOS},
			{"2001:db8::1", levelIPv6, winHopLimit, winTClass},
		} {
			to := netip.MustParseAddr(test.address)
			b := w.addPktinfo(nil, to, 7, to.Is6())
			b = w.addUint32(b, test.level, test.typ, 63)
			b = w.addUint32(b, test.level, test.class, 0xb8)
			b = w.addUint32(b, test.level, winECN, 2)
			b = w.addUint32(b, levelUDP, winCoalesced, 1200)
			b = w.addUint32(b, 99, 99, 1) // of another protocol
			var r Received
			if ok := w.parse(b, &r); !ok || r != (Received{To: to, Own: true, IfIndex: 7, TTL: 63, TrafficClass: 0xba, HasClass: true, Segment: 1200}) {
				t.Errorf("%v, %v: %v, %+v", w, test, ok, r)
			}
		}
		for to, own := range map[string]bool{"224.0.0.251": false, "255.255.255.255": false, "ff02::fb": false, "127.0.0.1": true} {
			to := netip.MustParseAddr(to)
			var r Received
			if w.parse(w.addPktinfo(nil, to, 0, to.Is6()), &r); r.Own != own {
				t.Errorf("%v: %+v", to, r)
			}
		}
		mapped := w.addPktinfo(nil, netip.MustParseAddr("::ffff:192.0.2.1"), 0, true)
		var r Received
		if w.parse(mapped, &r); r.To != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%+v", r)
		}
	}
}

// The messages that programs read and write themselves, as with ReadMsgUDP and WriteMsgUDP.
func TestWindowsProgramsReadAndWriteMessages(t *testing.T) {
	for _, w := range []winsock{winsockOf(4), winsockOf(8)} {
		for _, address := range []string{"192.0.2.1", "2001:db8::1"} {
			to := netip.MustParseAddr(address)
			h := &Header{To: to, Own: true, IfIndex: 7, TTL: 64, TrafficClass: 0xb9, HasClass: true, IPv4: to.Is4()}
			full := make([]byte, 256)
			n, all := w.putHeader(h, full)
			var r Received
			if ok := w.parse(full[:n], &r); !ok || !all || r != (Received{To: to, Own: true, IfIndex: 7, TTL: 64, TrafficClass: 0xb9, HasClass: true}) {
				t.Errorf("%v, %v: %v, %v, %+v", w, to, ok, all, r)
			}
			for size := range n {
				b := make([]byte, size)
				had, all := w.putHeader(h, b)
				if size > 0 && all || had > size || !w.parse(b[:had], &r) {
					t.Errorf("%d of %d bytes, all %v", had, size, all)
				}
			}
			b, _ := w.addClass(w.addSegment(w.addPktinfo(nil, to, 7, to.Is6()), 1200), 1, to.Is6())
			var s Sending
			if ok := w.parseSending(b, &s); !ok || s != (Sending{From: to, IfIndex: 7, TrafficClass: 1, HasClass: true, Segment: 1200}) {
				t.Errorf("%v, %+v", ok, s)
			}
			if s := (&Sending{}); w.parseSending(w.addUint32(nil, 99, 99, 1), s) {
				t.Errorf("an unknown message is no error: %+v", s)
			}
		}
		if b, ok := w.addClass(nil, 0xb8, false); ok || b != nil {
			t.Errorf("a DSCP can't be sent: %x", b)
		}
	}
}

// FuzzWindows: for any bytes, neither parser panics, reads beyond them or reports impossible
// values.
func FuzzWindows(f *testing.F) {
	for _, w := range []winsock{winsockOf(4), winsockOf(8)} {
		f.Add([]byte{}, w.align == 4)
		f.Add(w.addSegment(w.addPktinfo(nil, netip.MustParseAddr("192.0.2.1"), 7, false), 1200), w.align == 4)
		f.Add(w.addUint32(w.addPktinfo(nil, netip.MustParseAddr("2001:db8::1"), 7, true), levelUDP, winCoalesced, 9), w.align == 4)
	}
	f.Fuzz(func(t *testing.T, b []byte, small bool) {
		w := winsockOf(8)
		if small {
			w = winsockOf(4)
		}
		exact := make([]byte, len(b)) // so that a read beyond it panics
		copy(exact, b)
		var r Received
		w.parse(exact, &r)
		if r.To.Is4In6() || r.Own && r.To.IsMulticast() || r.Segment < 0 || r.Segment > 1<<16 {
			t.Errorf("impossible: %+v", r)
		}
		var s Sending
		w.parseSending(exact, &s)
		if s.From.Is4In6() || s.From.IsValid() && s.From.IsUnspecified() || s.Segment < 0 || s.Segment > 1<<16 {
			t.Errorf("impossible: %+v", s)
		}
	})
}
