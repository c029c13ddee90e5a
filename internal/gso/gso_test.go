package gso_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/socket"
)

var to = netip.MustParseAddrPort("127.0.0.1:1")

func messages(sizes ...int) []socket.Message {
	ms := make([]socket.Message, len(sizes))
	for i, n := range sizes {
		ms[i] = socket.Message{Data: make([]byte, n), To: to}
		for j := range ms[i].Data {
			ms[i].Data[j] = byte(i)
		}
	}
	return ms
}

// Neighbours of one header become one message, lent or copied.
func TestNeighboursBecomeSegments(t *testing.T) {
	other := func(change func(m *socket.Message)) []socket.Message {
		ms := messages(5, 5, 5)
		change(&ms[2])
		return ms
	}
	for name, c := range map[string]struct {
		ms   []socket.Message
		want []int // datagrams of each message
	}{
		"one alone":                 {messages(5), []int{1}},
		"equal ones":                {messages(5, 5, 5), []int{3}},
		"the last may be shorter":   {messages(5, 5, 3), []int{3}},
		"a shorter one ends it":     {messages(5, 3, 5), []int{2, 1}},
		"a longer one does not fit": {messages(5, 5, 6), []int{2, 1}},
		"an empty one is no part":   {messages(5, 5, 0), []int{2, 1}},
		"an empty one starts none":  {messages(0, 0), []int{1, 1}},
		"another destination":       {other(func(m *socket.Message) { m.To = netip.AddrPortFrom(to.Addr(), 2) }), []int{2, 1}},
		"another source":            {other(func(m *socket.Message) { m.From = to.Addr() }), []int{2, 1}},
		"another interface":         {other(func(m *socket.Message) { m.IfIndex = 1 }), []int{2, 1}},
		"another TTL":               {other(func(m *socket.Message) { m.TTL = 1 }), []int{2, 1}},
		"another traffic class":     {other(func(m *socket.Message) { m.TrafficClass = 4 }), []int{2, 1}},
		"another ECN":               {other(func(m *socket.Message) { m.ECN = 2 }), []int{2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, add := range []func(*gso.Batch, *socket.Message){(*gso.Batch).Lend, (*gso.Batch).Copy} {
				b := gso.Get(true)
				var all []byte
				for i := range c.ms {
					add(b, &c.ms[i])
					all = append(all, c.ms[i].Data...)
				}
				require.Equal(t, len(c.ms), b.Len())
				var got []int
				var sent []byte
				for i := range b.Messages {
					got = append(got, b.Messages[i].Datagrams())
					sent = append(sent, b.Messages[i].Data...)
				}
				require.Equal(t, c.want, got)
				require.Equal(t, all, sent)
				b.Put()
			}
		})
	}
}

func TestWithoutSegmentsEachDatagramIsAMessage(t *testing.T) {
	b := gso.Get(false)
	defer b.Put()
	for _, m := range messages(5, 5, 5) {
		b.Copy(&m)
	}
	require.Len(t, b.Messages, 3)
}

// A copy does not change with its original; what is lent is not copied if it lies
// side by side.
func TestCopiesAndLoans(t *testing.T) {
	b := gso.Get(true)
	defer b.Put()
	data := []byte("ab")
	b.Copy(&socket.Message{Data: data, To: to})
	data[0] = 'x'
	require.Equal(t, "ab", string(b.Messages[0].Data))

	lent := gso.Get(true)
	defer lent.Put()
	side := []byte("aabbcc")
	for i := range 3 {
		lent.Lend(&socket.Message{Data: side[2*i : 2*i+2], To: to})
	}
	require.Len(t, lent.Messages, 1)
	require.Same(t, &side[0], &lent.Messages[0].Data[0])
}

func TestABatchIsFull(t *testing.T) {
	b := gso.Get(true)
	defer b.Put()
	m := socket.Message{Data: []byte{1}, To: to}
	for n := 0; n < gso.MaxDatagrams; n++ {
		require.False(t, b.Full(1))
		b.Copy(&m)
	}
	require.True(t, b.Full(1))
	b.Reset()
	long := socket.Message{Data: make([]byte, 65507), To: to}
	n := 0
	for ; !b.Full(len(long.Data)); n++ {
		b.Copy(&long)
	}
	require.Equal(t, 4, n)
}

func TestSkipAndFirst(t *testing.T) {
	ms := []socket.Message{{Data: []byte("aabbc"), Segment: 2}, {Data: []byte("d")}}
	require.Equal(t, "aa", string(gso.First(ms).Data))
	rest, bytes := gso.Skip(ms, 2)
	require.Equal(t, 4, bytes)
	require.Equal(t, "c", string(gso.First(rest).Data))
	rest, bytes = gso.Skip(rest, 1)
	require.Equal(t, 1, bytes)
	require.Equal(t, "d", string(rest[0].Data))
	rest, _ = gso.Skip(rest, 1)
	require.Empty(t, rest)
}
