//go:build !udpbasic

package sys

import (
	"net/netip"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/socket"
)

// A message of segments is split where the kernel takes no more at once.
func TestSegmentsAreLimited(t *testing.T) {
	a, v6 := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("[::1]:1")
	for name, c := range map[string]struct {
		to                         netip.AddrPort
		bytes, segment, most, long int
		want                       []int // datagrams of each message
	}{
		"all at once":                     {a, 500, 100, 64, 1 << 20, []int{5}},
		"the last is shorter":             {a, 450, 100, 64, 1 << 20, []int{5}},
		"not more than the kernel takes":  {a, 500, 100, 3, 1 << 20, []int{3, 2}},
		"IPv4 carries 65,507 bytes":       {a, 65506, 32753, 64, 1 << 20, []int{2}},
		"IPv4 does not carry more":        {a, 65508, 32754, 64, 1 << 20, []int{1, 1}},
		"IPv6 carries 65,487 bytes":       {v6, 65487, 32743, 64, 1 << 20, []int{2, 1}},
		"connected: the lower of the two": {netip.AddrPort{}, 65488, 32744, 64, 1 << 20, []int{1, 1}},
		"datagrams a device has refused":  {a, 300, 100, 64, 99, []int{1, 1, 1}},
		"segments are not in use":         {a, 200, 100, 1, 1 << 20, []int{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := senderPool.Get().(*sender)
			defer s.giveBack()
			s.conn = &Conn{}
			s.conn.inet6 = true
			s.conn.path.limits.segments.Store(int32(c.most))
			if c.long < 1<<20 {
				s.conn.path.limits.note(c.to.Addr(), c.long, time.Now().Add(time.Minute))
			}
			s.pack([]socket.Message{{Data: make([]byte, c.bytes), To: c.to, Segment: c.segment}}, position{})
			require.Equal(t, c.want, s.count[:s.messages])
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
	pack(messages(to, equal[:1]...))
	require.Equal(t, 1, s.messages)
	s.giveBack()
	runtime.GC()
	for i, p := range payloads {
		require.Nil(t, p.Value(), "payload %d", i)
	}
	runtime.KeepAlive(s)
}
