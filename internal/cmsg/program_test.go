//go:build unix && !aix && !solaris

package cmsg

import (
	"net/netip"
	"testing"
)

// Parse reads what Put writes. Put leaves out a message that does not fit, and writes no part of it.
func TestHeaderIsWhatParseReads(t *testing.T) {
	for _, to := range []string{"192.0.2.1", "2001:db8::1"} {
		for _, both := range []bool{false, true} {
			h := Header{To: netip.MustParseAddr(to), Own: true, IfIndex: 7, TrafficClass: 0xb9, HasClass: true, TTL: 64, Both: both}
			h.IPv4 = h.To.Is4()
			full := make([]byte, 256)
			n, all := h.Put(full)
			if !all {
				t.Fatalf("%s: no room in %d bytes", to, len(full))
			}
			var r Received
			if !Parse(full[:n], &r) || r.To != h.To || !r.Own {
				t.Errorf("%s: read %+v", to, r)
			}
			for size := range n {
				b := make([]byte, size, len(full)) // it must not use the capacity
				had, all := h.Put(b)
				if size > 0 && all || had > size {
					t.Errorf("%s: %d of %d bytes, all %v", to, had, size, all)
				}
				var s Received
				if !Parse(b[:had], &s) {
					t.Errorf("%s: %d bytes are malformed", to, had)
				}
			}
		}
	}
	var h Header
	if n, all := h.Put(make([]byte, 100)); n != 0 || !all {
		t.Errorf("of nothing known: %d, %v", n, all)
	}
}

// Sending reads the same values from the messages that the toolkit appends to a datagram.
func TestSendingReadsWhatAppendWrote(t *testing.T) {
	for _, from := range []string{"192.0.2.1", "2001:db8::1"} {
		src := netip.MustParseAddr(from)
		var s Sending
		b := AppendSource(nil, src)
		b, class := AppendTrafficClass(b, 0xb9, src.Is6())
		b, ttl := AppendTTL(b, 77, src.Is6())
		if !s.Parse(b) || s.From != src || class != s.HasClass || class && s.TrafficClass != 0xb9 || ttl && s.TTL != 77 {
			t.Errorf("%s: %+v", from, s)
		}
	}
	var s Sending
	if s.Parse([]byte("this is no control message")) {
		t.Errorf("read %+v", s)
	}
}

// FuzzSending: for any bytes, Parse neither panics nor reads beyond them.
func FuzzSending(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendSource(nil, netip.MustParseAddr("192.0.2.1")))
	f.Add(AppendSource(nil, netip.MustParseAddr("2001:db8::1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		exact := make([]byte, len(b))
		copy(exact, b)
		var s, again Sending
		ok := s.Parse(exact)
		if s.From.Is4In6() || s.From.IsUnspecified() && s.From.IsValid() || s.Segment < 0 {
			t.Errorf("impossible: %+v", s)
		}
		if again.Parse(exact) != ok || again != s {
			t.Errorf("%+v, then %+v", s, again)
		}
	})
}
