package udp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
)

// Whatever lies where, what leaves is what was given, in order.
func TestABatchOfAnyLayoutArrivesWholeAndInOrder(t *testing.T) {
	q := udp.NewQueue(4096, udp.Block)
	r, err := udp.Config{ReadBuffer: 8 << 20}.Listen(t.Context(), "udp4", "127.0.0.1:0", q)
	require.NoError(t, err)
	defer sockettest.Stop(t, r)
	s, err := udp.Config{WriteBuffer: 8 << 20}.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer sockettest.Stop(t, s)
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
						d := sockettest.Next(t, q.Datagrams())
						require.True(t, bytes.Equal(want[i], d.Data), "datagram %d: %d bytes of %d", i, len(d.Data), len(want[i]))
						d.Release()
					}
					ms, want = ms[n:], want[n:]
				}
			})
		}
	}
}

func TestABatchIsCopiedOnlyToSegmentShortDatagrams(t *testing.T) {
	all, apart := make([]byte, 90_000), make([]byte, 30_000)
	var many [][]byte // more than a buffer can hold
	for at := 0; at < len(all); at += 1000 {
		many = append(many, all[at:at+1000])
	}
	for name, test := range map[string]struct {
		data     [][]byte
		copied   []bool // of the messages that leave
		segments []int  // their datagrams' length, 0 if one alone
	}{
		"one":                      {[][]byte{all[:10]}, []bool{false}, []int{0}},
		"side by side":             {[][]byte{all[:10], all[10:20], all[20:25]}, []bool{false}, []int{10}},
		"long ones side by side":   {[][]byte{all[:9000], all[9000:18000]}, []bool{false}, []int{9000}},
		"apart":                    {[][]byte{all[:10], apart[:10]}, []bool{true}, []int{10}},
		"long ones apart":          {[][]byte{all[:20_000], apart[:20_000]}, []bool{false, false}, []int{0, 0}},
		"the second half apart":    {[][]byte{all[:10], all[10:20], apart[:10]}, []bool{true}, []int{10}},
		"very many, one apart":     {append(many, apart[:1000]), []bool{false, false}, []int{1000, 0}},
		"different lengths, apart": {[][]byte{all[:10], apart[:20]}, []bool{false, false}, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := sockettest.NewScripted()
			s.MaxSegments = 64
			var copied []bool
			var segments []int
			var bytesSent, bytesGiven int
			s.OnSend = func(m socket.Message) error {
				bytesSent += len(m.Data)
				copied = append(copied, &m.Data[0] != &all[0] && &m.Data[0] != &apart[0])
				segments = append(segments, m.Segment)
				return nil
			}
			c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
			defer sockettest.Stop(t, c)
			ms := make([]udp.Message, len(test.data))
			for i, b := range test.data {
				ms[i] = udp.Message{Data: b, To: sockettest.There}
				bytesGiven += len(b)
			}
			n, err := c.SendBatch(ms)
			require.NoError(t, err)
			require.Equal(t, len(ms), n)
			require.Equal(t, bytesGiven, bytesSent)
			require.Equal(t, test.copied, copied)
			require.Equal(t, test.segments, segments)
		})
	}
}

// SendBatch goes on after messages that cannot be sent, and lists them.
func TestABatchGoesOnAfterFailures(t *testing.T) {
	for _, segments := range []int{0, 64} {
		for _, test := range []struct {
			name string
			to   string // of each message: g is good, f is of the wrong family, s fails in the system
			want []int
		}{
			{"none", "gggg", nil},
			{"the first", "fggg", []int{0}},
			{"the last", "gggf", []int{3}},
			{"all", "ffff", []int{0, 1, 2, 3}},
			{"several", "gfgffgg", []int{1, 3, 4}},
			{"in the system", "gsgsg", []int{1, 3}},
			{"both", "sfgsfgg", []int{0, 1, 3, 4}},
			{"many", strings.Repeat("gggf", 1000), nil},
		} {
			t.Run(fmt.Sprintf("%s, %d segments", test.name, segments), func(t *testing.T) {
				s := sockettest.NewScripted()
				s.MaxSegments = segments
				s.OnSend = func(m socket.Message) error {
					if m.To.Port() == 1 {
						return net.UnknownNetworkError("fails")
					}
					return nil
				}
				c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
				var ms []udp.Message
				var want []int
				for i, kind := range test.to {
					m := udp.Message{Data: []byte("x"), To: sockettest.There}
					switch kind {
					case 'f':
						m.To = netip.MustParseAddrPort("[::1]:9")
					case 's':
						m.To = netip.AddrPortFrom(sockettest.There.Addr(), 1)
					}
					if kind != 'g' {
						want = append(want, i)
					}
					ms = append(ms, m)
				}
				if test.want != nil {
					require.Equal(t, test.want, want)
				}
				n, err := c.SendBatch(ms)
				require.Equal(t, len(ms)-len(want), n)
				require.EqualValues(t, n, c.Stats().Sent)
				require.EqualValues(t, len(want), c.Stats().SendErrors)
				sockettest.Stop(t, c)
				if want == nil {
					require.NoError(t, err)
					return
				}
				var failed *udp.BatchError
				require.ErrorAs(t, err, &failed)
				require.Zero(t, failed.Untried)
				var got []int
				for _, f := range failed.Failed {
					got = append(got, f.Index)
					oe := sockettest.RequireOpError(t, f.Err, "send")
					require.Equal(t, ms[f.Index].To.String(), oe.Addr.String())
				}
				require.Equal(t, want, got)
				require.Equal(t, strings.Contains(test.to, "f"), errors.Is(err, udp.ErrFamily))
				require.Contains(t, err.Error(), fmt.Sprintf("message %d: send udp4", want[0]))
				require.Equal(t, len(want) > 1, strings.Contains(err.Error(), fmt.Sprintf("(and %d more)", len(want)-1)))
			})
		}
	}
}

// It ends early when the socket is closed, or the deadline has passed, and says how
// many were not tried.
func TestABatchEndsEarly(t *testing.T) {
	ms := make([]udp.Message, 5)
	for i := range ms {
		ms[i] = udp.Message{Data: []byte("x"), To: sockettest.There}
	}
	check := func(t *testing.T, n int, err error, is error) {
		t.Helper()
		require.ErrorIs(t, err, is)
		var failed *udp.BatchError
		require.ErrorAs(t, err, &failed)
		require.Len(t, failed.Failed, 1)
		require.Equal(t, n, failed.Failed[0].Index)
		require.Equal(t, len(ms)-n-1, failed.Untried)
		require.Contains(t, err.Error(), fmt.Sprintf("(%d not tried)", failed.Untried))
		sockettest.RequireOpError(t, failed.Failed[0].Err, "send")
	}
	t.Run("deadline", func(t *testing.T) {
		s := sockettest.NewScripted()
		sends := 0
		s.OnSend = func(socket.Message) error {
			if sends++; sends > 2 {
				return os.ErrDeadlineExceeded
			}
			return nil
		}
		c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
		n, err := c.SendBatch(ms)
		require.Equal(t, 2, n)
		check(t, n, err, os.ErrDeadlineExceeded)
		require.Equal(t, udp.SendFailures{Deadline: 1}, c.Stats().SendFailed, "those that were not tried are not counted")
		sockettest.Stop(t, c)
	})
	t.Run("closed meanwhile", func(t *testing.T) {
		s := sockettest.NewScripted()
		var c *udp.Conn
		s.OnSend = func(socket.Message) error {
			if c.Stats().Sent == 0 && len(s.SentData) < 2 {
				return nil
			}
			c.Close()
			return os.ErrDeadlineExceeded // as Close makes sends end
		}
		c = s.Listen(t, udp.Config{}, udp.BaseHandler{})
		n, err := c.SendBatch(ms)
		require.Equal(t, 2, n)
		check(t, n, err, net.ErrClosed)
		sockettest.Next(t, c.Done())
	})
	t.Run("closed before", func(t *testing.T) {
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
		sockettest.Stop(t, c)
		n, err := c.SendBatch(ms)
		require.Zero(t, n)
		check(t, n, err, net.ErrClosed)
		require.Empty(t, s.TakeSent(), "a closed socket sends nothing")
		require.Equal(t, udp.SendFailures{Closed: 1}, c.Stats().SendFailed)
		_, err = c.SendBatch(nil)
		sockettest.RequireOpError(t, err, "send")
		require.ErrorIs(t, err, net.ErrClosed)
	})
}
