package udpdebug_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udpdebug"
)

type topPeer struct {
	Address                           string
	Least, Most, Sent, Bytes, Dropped int
}

// top returns the peers that the page shows.
func top(t *testing.T, p *udpdebug.Peers) []topPeer {
	t.Helper()
	l := newLab(t, udpdebug.Config{})
	l.page.AddPeers("dns", p)
	_, body := get(t, l.url+"stats")
	var s struct {
		Sections []struct {
			Kind  string
			Peers []topPeer
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	last := s.Sections[len(s.Sections)-1]
	require.Equal(t, "peers", last.Kind)
	_, page := get(t, l.url)
	require.Contains(t, page, "<caption>Top peers</caption>")
	return last.Peers
}

// The peers that send most are found among many that send once, and their numbers are bounds.
func TestPeers(t *testing.T) {
	p := udpdebug.NewPeers(4)
	trace := p.Trace()
	receive := func(addr string, bytes int) {
		d := udp.Datagram{Data: make([]byte, bytes), From: netip.AddrPortFrom(netip.MustParseAddr(addr), 7)}
		trace.Received(nil, d)
	}
	require.Empty(t, top(t, p))
	noise := netip.MustParseAddr("198.51.100.0")
	for i := range 300 {
		receive("192.0.2.1", 10)
		receive("fe80::1%eth0", 1)
		if i%3 == 0 {
			receive(noise.String(), 5)
			noise = noise.Next()
		}
	}
	trace.Sent(nil, udp.Message{Data: make([]byte, 5), To: netip.MustParseAddrPort("192.0.2.1:9")}, time.Time{})
	trace.Sent(nil, udp.Message{To: netip.MustParseAddrPort("203.0.113.1:9")}, time.Time{})
	trace.Dropped(nil, udp.Datagram{From: netip.MustParseAddrPort("192.0.2.1:9")}, udp.DroppedQueue)
	trace.Dropped(nil, udp.Datagram{}, udp.DroppedClosed)
	all := top(t, p)
	require.Len(t, all, 4)
	require.Equal(t, topPeer{"192.0.2.1", 300, 300, 1, 3005, 1}, all[0])
	require.Equal(t, topPeer{"fe80::1%eth0", 300, 300, 0, 300, 0}, all[1])
	for _, one := range all[2:] {
		require.LessOrEqual(t, one.Least, 1)
		require.GreaterOrEqual(t, one.Most, 1)
	}
}

// A source of spoofed addresses costs little: the benchmark's every datagram is from a new one.
func BenchmarkPeers(b *testing.B) {
	received := udpdebug.NewPeers(0).Trace().Received
	a := netip.MustParseAddr("10.0.0.0")
	d := udp.Datagram{Data: make([]byte, 100)}
	for b.Loop() {
		a = a.Next()
		d.From = netip.AddrPortFrom(a, 7)
		received(nil, d)
	}
}
