package udp_test

import (
	"context"
	"log/slog"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/sockettest"
)

// A Handler may put what it likes of a segment into a Queue, also twice, and panic:
// what is in the Queue is never overwritten, and no buffer stays in use.
func TestPartsOfTrainsInAQueueKeepTheirBuffersAndNoOthers(t *testing.T) {
	for name, test := range map[string]struct {
		reads [][]string // segments: q is put into the Queue, Q twice, p panics, P is put and panics
		want  int
	}{
		"all":                        {[][]string{{"qqq", "qq"}}, 5},
		"some":                       {[][]string{{"-q-q-", "-", "q"}}, 3},
		"twice":                      {[][]string{{"QqQ", "-Q"}}, 7},
		"a panic in a segment":       {[][]string{{"qpq", "q"}}, 3},
		"a panic at the end of one":  {[][]string{{"q-p", "q-q"}}, 3},
		"a panic at the end of all":  {[][]string{{"q-p"}, {"q-q"}, {"q"}}, 4},
		"a panic after it was put":   {[][]string{{"qPq-P", "q-P"}, {"P"}}, 7},
		"panics and nothing but one": {[][]string{{"p", "p", "q"}, {"p"}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			before := buffer.Live()
			s := sockettest.NewScripted()
			q := udp.NewQueue(100, udp.Block)
			c := s.Listen(t, udp.Config{Logger: sockettest.Quiet}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
				switch d.Data[0] {
				case 'Q':
					q.Received(c, d)
					q.Received(c, d)
				case 'q', 'P':
					q.Received(c, d)
				}
				switch d.Data[0] {
				case 'p', 'P':
					panic("as the test wants")
				}
			}))
			for _, data := range test.reads {
				s.Inputs <- sockettest.Coalesced(data...)
			}
			require.NoError(t, c.Shutdown(t.Context()))
			require.Len(t, q.Datagrams(), test.want)
			for range test.want {
				d := <-q.Datagrams()
				require.Contains(t, "qQP", string(d.Data))
				d.Release()
			}
			require.Equal(t, before, buffer.Live(), "each buffer is in the pool again")
			sockettest.CountersAgree(t, c.Stats())
		})
	}
}

// What a callback that calls runtime.Goexit leaves of its read is counted while it
// is still its own: the memory of it goes to the next socket that reads.
func TestGoexitInTheMiddleOfATrainCountsTheRest(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that it is the next one's
	ended, goOn := make(chan struct{}), make(chan struct{})
	log := slog.New(logFunc(func() { close(ended); <-goOn }))
	cfg := udp.Config{Logger: log}
	c, err := cfg.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		// Broadcast is not allowed on this socket. Where more datagrams of the read
		// follow, that is found out and logged after Goexit.
		if err := c.Enqueue(udp.Message{Data: d.Data, To: sockettest.At("255.255.255.255", 9)}); err != nil {
			log.Warn("at once")
		}
		runtime.Goexit()
	}))
	require.NoError(t, err)
	other := udp.NewQueue(10, udp.Block)
	o := sockettest.Listen(t, udp.Config{}, "udp4", other)
	segment := make([]udp.Message, 10)
	for i := range segment {
		segment[i] = udp.Message{Data: []byte("a datagram"), To: c.LocalAddrPort()}
	}
	_, err = o.SendBatch(segment)
	require.NoError(t, err)
	sockettest.Next(t, ended)
	for range 2 {
		require.NoError(t, o.SendTo([]byte("x"), o.LocalAddrPort()))
		sockettest.Next(t, other.Datagrams()).Release()
	}
	close(goOn)
	sockettest.Next(t, c.Done())
	s := c.Stats()
	require.Equal(t, udp.Drops{Panicked: 1, Closed: 9}, s.Dropped)
	sockettest.CountersAgree(t, s)
}

// logFunc is called for each record.
type logFunc func()

func (f logFunc) Enabled(context.Context, slog.Level) bool  { return true }
func (f logFunc) Handle(context.Context, slog.Record) error { f(); return nil }
func (f logFunc) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f logFunc) WithGroup(string) slog.Handler             { return f }
