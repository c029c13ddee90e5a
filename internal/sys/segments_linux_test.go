//go:build !udpbasic

package sys

import (
	"net/netip"
	"runtime"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/socket"
)

func TestSegmentsAreNeighboursOfOneKind(t *testing.T) {
	a, b := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")
	v6 := netip.MustParseAddrPort("[::1]:1")
	long := func(n int) (ns []int) {
		for range n {
			ns = append(ns, 1000)
		}
		return ns
	}
	other := func(change func(m *socket.Message)) []socket.Message {
		ms := messages(a, 5, 5, 5)
		change(&ms[2])
		return ms
	}
	for name, c := range map[string]struct {
		ms                []socket.Message
		segments, longest int
		want              int
	}{
		"one alone":                             {messages(a, 5), 64, 1 << 20, 1},
		"equal ones":                            {messages(a, 5, 5, 5), 64, 1 << 20, 3},
		"the last may be shorter":               {messages(a, 5, 5, 3), 64, 1 << 20, 3},
		"a shorter one ends it":                 {messages(a, 5, 3, 5), 64, 1 << 20, 2},
		"a longer one does not fit":             {messages(a, 5, 5, 6), 64, 1 << 20, 2},
		"an empty one is none":                  {messages(a, 5, 5, 0), 64, 1 << 20, 2},
		"an empty one starts none":              {messages(a, 0, 0), 64, 1 << 20, 1},
		"not more than the kernel takes":        {messages(a, 5, 5, 5, 5), 3, 1 << 20, 3},
		"not longer than IPv4 carries":          {messages(a, long(70)...), 64, 1 << 20, 64},
		"IPv4 has room for 65,507 bytes":        {messages(a, 32753, 32754), 64, 1 << 20, 1},
		"IPv4 has room for exactly that":        {messages(a, 32754, 32753), 64, 1 << 20, 2},
		"IPv6 has room for 65,487 bytes":        {messages(v6, 32744, 32744), 64, 1 << 20, 1},
		"IPv6 has room for exactly that":        {messages(v6, 32744, 32743), 64, 1 << 20, 2},
		"connected: the lower of the two":       {messages(netip.AddrPort{}, 32744, 32744), 64, 1 << 20, 1},
		"datagrams a device has refused":        {messages(a, 1000, 1000), 64, 999, 1},
		"another destination ends it":           {other(func(m *socket.Message) { m.To = b }), 64, 1 << 20, 2},
		"another source ends it":                {other(func(m *socket.Message) { m.From = a.Addr() }), 64, 1 << 20, 2},
		"another ECN ends it":                   {other(func(m *socket.Message) { m.ECN = 2 }), 64, 1 << 20, 2},
		"another interface ends it":             {other(func(m *socket.Message) { m.IfIndex = 1 }), 64, 1 << 20, 2},
		"another TTL ends it":                   {other(func(m *socket.Message) { m.TTL = 1 }), 64, 1 << 20, 2},
		"another class ends it":                 {other(func(m *socket.Message) { m.TrafficClass = 1 }), 64, 1 << 20, 2},
		"a limit of one segment is none at all": {messages(a, 5, 5), 1, 1 << 20, 1},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, run(c.ms, c.segments, c.longest))
		})
	}
}

// A sender that waits in its pool keeps nobody's memory, whatever it has sent.
func TestASenderForgetsPayloads(t *testing.T) {
	s := senderPool.New().(*sender)
	var payloads []weak.Pointer[byte]
	pack := func(ms []socket.Message) {
		for i := range ms {
			payloads = append(payloads, weak.Make(&ms[i].Data[0]))
		}
		s.pack(ms, position{})
	}
	ascending, equal := make([]int, maxMessages), make([]int, 100)
	for i := range ascending {
		ascending[i] = 100 + i
	}
	for i := range equal {
		equal[i] = 100
	}
	to := netip.MustParseAddrPort("127.0.0.1:1")
	s.conn = &Conn{}
	s.conn.path.limits.segments.Store(firstSegments)
	pack(messages(to, ascending...))
	require.Equal(t, maxMessages, s.messages)
	pack(messages(to, equal...)) // takes more room than there was
	require.Equal(t, 1, s.messages)
	s.giveBack()
	runtime.GC()
	for i, p := range payloads {
		require.Nil(t, p.Value(), "payload %d", i)
	}
	runtime.KeepAlive(s)
}

func TestNeighboursInMemoryAreOnePiece(t *testing.T) {
	all := payload(0, 300)
	for name, test := range map[string]struct{ order, pieces []int }{
		"one behind the other": {[]int{0, 100, 200}, []int{1}},
		"two of them":          {[]int{100, 200, 0}, []int{2}},
		"the other way round":  {[]int{200, 100, 0}, []int{3}},
	} {
		t.Run(name, func(t *testing.T) {
			s := senderPool.Get().(*sender)
			defer s.giveBack()
			s.conn = open(t, "udp4", "127.0.0.1:0", socket.Options{})
			var ms []socket.Message
			for _, at := range test.order {
				ms = append(ms, socket.Message{Data: all[at : at+100], To: s.conn.Local()})
			}
			s.pack(ms, position{})
			require.Equal(t, test.pieces, s.pieces[:s.messages])
		})
	}
}
