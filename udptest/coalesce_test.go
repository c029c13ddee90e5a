package udptest

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// packets is a sink that records the datagrams of each packet.
type packets struct{ got []string }

func (s *packets) Packets(ps []socket.Packet) bool {
	for _, p := range ps {
		text := string(p.Data)
		if p.Segment > 0 {
			var parts []string
			for i := 0; i < len(text); i += p.Segment {
				parts = append(parts, text[i:min(i+p.Segment, len(text))])
			}
			text = strings.Join(parts, " ")
		}
		s.got = append(s.got, text)
	}
	return true
}
func (*packets) Reports([]socket.Report) bool { return true }
func (*packets) Fault(error) bool             { return true }
func (*packets) Woken() socket.Action         { return socket.Stop }

// burst sends texts from a host to another at one instant, and returns what arrives.
func burst(t *testing.T, cfg Config, o socket.Options, texts []string) []string {
	n := NewNet(t, cfg)
	a, b := openSock(t, n.Host("a", "10.0.0.1")), n.Host("b", "10.0.0.2")
	to := netip.MustParseAddrPort("10.0.0.2:7")
	s, err := b.Network().Open(context.Background(), "udp4", to, o)
	require.NoError(t, err)
	require.Equal(t, !o.NoOffload, s.Info().GRO)
	sink, done := new(packets), make(chan error)
	go func() { done <- s.Serve(sink) }()
	for _, text := range texts {
		require.NoError(t, a.Send(socket.Message{Data: []byte(text), To: to}))
	}
	n.Settle()
	s.Wake()
	require.NoError(t, <-done)
	require.NoError(t, s.Close())
	return sink.got
}

func TestABurstArrivesCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var texts []string
		for i := range 120 {
			texts = append(texts, fmt.Sprintf("%03d", i))
		}
		all := strings.Join(texts, " ")
		shapes := make(map[string]bool)
		for seed := range uint64(10) {
			cfg := Config{Seed: seed}
			got := burst(t, cfg, socket.Options{}, texts)
			require.Equal(t, all, strings.Join(got, " "), "all arrive in order")
			require.Less(t, len(got), 60, "most are coalesced")
			require.Greater(t, len(got), 2, "in several packets")
			require.Equal(t, got, burst(t, cfg, socket.Options{}, texts), "the seed determines which")
			shapes[fmt.Sprintf("%q", got)] = true
			require.Equal(t, texts, burst(t, cfg, socket.Options{NoOffload: true}, texts))
		}
		require.Len(t, shapes, 10)
	})
}

func TestOnlyWhatUDPGROJoinsIsCoalesced(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.1:2")
	of := func(from netip.AddrPort, sizes ...int) (as []arrival) {
		for _, size := range sizes {
			as = append(as, arrival{Packet: socket.Packet{From: from, Data: make([]byte, size)}})
		}
		return as
	}
	many := make([]int, 100)
	for i := range many {
		many[i] = 9
	}
	first, class, hops := of(a, 5, 5, 5), of(a, 5, 5), of(a, 5, 5)
	first[1].first, class[1].TrafficClass, hops[1].TTL = true, 1, 1
	for name, tt := range map[string]struct {
		as   []arrival
		want int
	}{
		"one":                         {of(a, 5), 1},
		"equal sizes":                 {of(a, 5, 5, 5), 3},
		"a shorter one is the last":   {of(a, 5, 5, 4, 4), 3},
		"a longer one starts another": {of(a, 5, 6), 1},
		"empty ones are alone":        {of(a, 0, 0), 1},
		"an empty one is never last":  {of(a, 5, 0), 1},
		"other senders":               {append(of(a, 5), of(b, 5)...), 1},
		"64 at most":                  {of(a, many...), maxSegments},
		"64 KiB at most":              {of(a, 30000, 30000, 30000), 2},
		"by decision":                 {first, 1},
		"another traffic class":       {class, 1},
		"another TTL":                 {hops, 1},
	} {
		require.Equal(t, tt.want, joinable(tt.as), name)
	}
}

// Datagrams that arrive at a socket that no longer reads give their buffers back.
func TestArrivalsAtADiscardedSocketAreReleased(t *testing.T) {
	n := NewNet(t, Config{})
	s := openSock(t, n.Host("a", "10.0.0.1"))
	live := buffer.Live()
	for range 2 {
		p := socket.Packet{Buf: buffer.Of(1)}
		p.Data = p.Buf.B[:1]
		n.mu.Lock()
		require.Equal(t, received, s.arrive(p, key{}))
		n.mu.Unlock()
	}
	require.Zero(t, s.Discard())
	n.mu.Lock()
	s.coalesce()
	n.mu.Unlock()
	require.Equal(t, live, buffer.Live())
	require.Empty(t, s.arrived)
}

// Discard counts datagrams, not packets.
func TestDiscardCountsCoalescedDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNet(t, Config{})
		a := openSock(t, n.Host("a", "10.0.0.1"))
		b := n.Host("b", "10.0.0.2")
		to := netip.MustParseAddrPort("10.0.0.2:7")
		s, err := b.Network().Open(context.Background(), "udp4", to, socket.Options{})
		require.NoError(t, err)
		for range 20 {
			require.NoError(t, a.Send(socket.Message{Data: []byte("x"), To: to}))
		}
		n.Settle()
		require.Less(t, s.(*sock).queued(), 20)
		require.Equal(t, 20, s.Discard())
		require.NoError(t, s.Close())
	})
}
