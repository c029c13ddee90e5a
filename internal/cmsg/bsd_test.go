package cmsg

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// bsds are the numbers of their netinet/in.h, for systems that these tests do not run on.
var bsds = map[string]bsd{
	"macOS":   {destination: 7, iface: 20, ttl: 24},
	"FreeBSD": {destination: 7, iface: 20, ttl: 65},
	"NetBSD":  {destination: 7, iface: 20, ttl: 23},
	"OpenBSD": {destination: 7, iface: 30, ttl: 31},
}

func TestMessagesOfTheBSDs(t *testing.T) {
	index := make([]byte, 20)
	index[0], index[1] = 20, 18 // sdl_len, AF_LINK
	ne.PutUint16(index[2:], 513)
	for name, b := range bsds {
		for to, own := range map[string]bool{"192.0.2.1": true, "239.1.2.3": false, "255.255.255.255": false} {
			var r Received
			a := netip.MustParseAddr(to).As4()
			b.parse(b.destination, a[:], &r)
			b.parse(b.iface, index, &r)
			b.parse(b.ttl, []byte{9}, &r)
			require.Equal(t, Received{To: netip.MustParseAddr(to), Own: own, IfIndex: 513, TTL: 9}, r, name)
		}
	}
}

func FuzzBSD(f *testing.F) {
	f.Add(7, []byte{192, 0, 2, 1})
	f.Add(20, []byte{20, 18, 1, 0})
	f.Add(24, []byte{9})
	f.Fuzz(func(t *testing.T, typ int, data []byte) {
		for name, b := range bsds {
			r := Received{}
			b.parse(typ, data, &r)
			if typ != b.destination && typ != b.iface && typ != b.ttl && r != (Received{}) {
				t.Fatalf("%s: a message of another type was read: %+v", name, r)
			}
			if r.To.IsValid() && (!r.To.Is4() || r.Own && r.To.IsMulticast()) {
				t.Fatalf("%s: %+v", name, r)
			}
		}
	})
}
