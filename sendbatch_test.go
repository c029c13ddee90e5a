package udp_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
)

// Whatever lies where, what leaves is what was given, in order.
func TestABatchOfAnyLayoutArrivesWholeAndInOrder(t *testing.T) {
	q := udp.NewQueue(4096, udp.Block)
	r, err := udp.Config{ReadBuffer: 8 << 20}.Listen(t.Context(), "udp4", "127.0.0.1:0", q)
	require.NoError(t, err)
	defer r.Close()
	s, err := udp.Config{WriteBuffer: 8 << 20}.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer s.Close()
	together := 100
	if r.Info().ReadBuffer < 4<<20 {
		together = 18 // of 5,000 bytes, for which the kernel charges 8 KiB at least
	}
	var number uint32
	for name, sizes := range map[string][]int{
		"short":          {40},
		"of a frame":     {1200},
		"long":           {5000},
		"last shorter":   {1200, 1200, 1200, 7},
		"every size":     {4, 5000, 5000, 1200, 1200, 40, 40, 40, 39, 40, 4096, 4096, 4097, 4097, 0, 0, 8},
		"one buffer out": {4000},
	} {
		for layout, place := range map[string]func(all []byte, i, at, n int) []byte{
			"side by side":          func(all []byte, _, at, n int) []byte { return all[at : at+n] },
			"side by side, bounded": func(all []byte, _, at, n int) []byte { return all[at : at+n : at+n] },
			"a buffer each":         func(_ []byte, _, _, n int) []byte { return make([]byte, n) },
			"in pairs": func(all []byte, i, at, n int) []byte {
				if i%4 < 2 {
					return all[at : at+n]
				}
				return make([]byte, n)
			},
			"apart at the end": func(all []byte, i, at, n int) []byte {
				if i < 99 {
					return all[at : at+n]
				}
				return make([]byte, n)
			},
			"apart after some": func(all []byte, i, at, n int) []byte {
				if i%9 < 8 {
					return all[at : at+n]
				}
				return make([]byte, n, n+100)
			},
		} {
			t.Run(name+", "+layout, func(t *testing.T) {
				all, at := make([]byte, 1<<20), 0
				ms := make([]udp.Message, 100)
				var want [][]byte
				for i := range ms {
					n := sizes[i%len(sizes)]
					b := place(all, i, at, n)
					at += n
					for j := range b {
						b[j] = byte(int(number) + j)
					}
					if n >= 4 {
						number++
						binary.BigEndian.PutUint32(b, number)
					}
					ms[i] = udp.Message{Data: b, To: r.LocalAddrPort()}
					want = append(want, bytes.Clone(b))
				}
				for len(ms) > 0 {
					n := min(len(ms), together)
					sent, err := s.SendBatch(ms[:n])
					require.NoError(t, err)
					require.Equal(t, n, sent)
					for i := range n {
						d := next(t, q.Datagrams())
						require.True(t, bytes.Equal(want[i], d.Data), "datagram %d: %d bytes of %d", i, len(d.Data), len(want[i]))
						d.Release()
					}
					ms, want = ms[n:], want[n:]
				}
			})
		}
	}
}

func TestABatchIsCopiedOnlyToMakeATrainOfShortDatagrams(t *testing.T) {
	all, apart := make([]byte, 90_000), make([]byte, 30_000)
	var many [][]byte // more than a buffer can hold
	for at := 0; at < len(all); at += 1000 {
		many = append(many, all[at:at+1000])
	}
	for name, test := range map[string]struct {
		data   [][]byte
		copied []bool // of the messages that leave
		trains []int  // their datagrams' length, 0 if one alone
	}{
		"one":                      {[][]byte{all[:10]}, []bool{false}, []int{0}},
		"side by side":             {[][]byte{all[:10], all[10:20], all[20:25]}, []bool{false}, []int{10}},
		"long ones side by side":   {[][]byte{all[:9000], all[9000:18000]}, []bool{false}, []int{9000}},
		"apart":                    {[][]byte{all[:10], apart[:10]}, []bool{true}, []int{10}},
		"long ones apart":          {[][]byte{all[:9000], apart[:9000]}, []bool{false, false}, []int{0, 0}},
		"the second half apart":    {[][]byte{all[:10], all[10:20], apart[:10]}, []bool{true}, []int{10}},
		"very many, one apart":     {append(many, apart[:1000]), []bool{false, false}, []int{1000, 0}},
		"different lengths, apart": {[][]byte{all[:10], apart[:20]}, []bool{false, false}, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted()
			s.segments = 64
			var copied []bool
			var trains []int
			var bytesSent, bytesGiven int
			s.send = func(m socket.Message) error {
				bytesSent += len(m.Data)
				copied = append(copied, &m.Data[0] != &all[0] && &m.Data[0] != &apart[0])
				trains = append(trains, m.Segment)
				return nil
			}
			c := s.listen(t, udp.Config{}, udp.BaseHandler{})
			defer c.Close()
			ms := make([]udp.Message, len(test.data))
			for i, b := range test.data {
				ms[i] = udp.Message{Data: b, To: there}
				bytesGiven += len(b)
			}
			n, err := c.SendBatch(ms)
			require.NoError(t, err)
			require.Equal(t, len(ms), n)
			require.Equal(t, bytesGiven, bytesSent)
			require.Equal(t, test.copied, copied)
			require.Equal(t, test.trains, trains)
		})
	}
}
