//go:build unix && !aix && !solaris

package cmsg

import (
	"net/netip"
	"testing"
)

// FuzzParse: for any bytes, Parse neither panics nor reads beyond them nor reports impossible
// values.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendSource(nil, netip.MustParseAddr("192.0.2.1")))
	f.Add(AppendSource(nil, netip.MustParseAddr("2001:db8::1")))
	b, _ := AppendTrafficClass(nil, 3, false)
	b, _ = AppendTTL(b, 64, true)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		exact := make([]byte, len(b)) // so that a read beyond it panics
		copy(exact, b)
		var r Received
		Parse(exact, &r)
		if r.To.Is4In6() {
			t.Errorf("4-in-6 address %v", r.To)
		}
		if r.Segment < 0 || r.Own && r.To.IsMulticast() && r.To.Is6() {
			t.Errorf("impossible: %+v", r)
		}
		var again Received
		if Parse(exact, &again); again != r {
			t.Errorf("%+v, then %+v", r, again)
		}
	})
}

func TestParseReadsWhatAppendWrote(t *testing.T) {
	for _, value := range []uint8{0, 1, 2, 3, 64, 0xb8, 255} {
		for _, v6 := range []bool{false, true} {
			var want Received
			b, ok := AppendTrafficClass(nil, value, v6)
			if ok {
				want.TrafficClass, want.HasClass = value, true
			}
			if b, ok = AppendTTL(b, value, v6); ok {
				want.TTL = value
			}
			var r Received
			if !Parse(b, &r) || r != want {
				t.Errorf("%d, v6 %v: got %+v, want %+v", value, v6, r, want)
			}
		}
	}
}
