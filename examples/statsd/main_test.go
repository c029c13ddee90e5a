package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
	"github.com/udpkit/udp/udptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, args ...string) (*program.Program, *udp.ConnectedConn) {
	t.Helper()
	p := program.Run(t, func(ctx context.Context, stdout io.Writer) error {
		return run(ctx, append([]string{"-listen", "127.0.0.1:0"}, args...), stdout, udp.Config{})
	})
	c, err := udp.Dial(t.Context(), "udp", p.Line(`^listening on (\S+)$`)[1], udp.BaseHandler{})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return p, c
}

func TestStatsdAddsUp(t *testing.T) {
	p, c := start(t, "-every", "1h", "-workers", "3")
	for i := range 10 {
		for name := range 5 {
			require.NoError(t, c.Send(fmt.Appendf(nil, "n%d:%d|c", name, i)))
		}
	}
	for _, text := range []string{"g:5|g", "g:2|g", "took:1.5|ms|@0.1"} {
		require.NoError(t, c.Send([]byte(text)))
	}
	for _, text := range []string{"", ":", "x", "x:", "x:1", "x:y|c", ":1|c"} {
		require.NoError(t, c.Send([]byte(text)))
	}
	rest := p.Stop()
	require.NoError(t, p.Err())
	want := []string{`"g" 2 in 2 values, the highest 5`}
	for name := range 5 {
		want = append(want, fmt.Sprintf(`"n%d" 45 in 10 values, the highest 9`, name))
	}
	want = append(want, `"took" 1.5 in 1 values, the highest 1.5`)
	require.Equal(t, want, rest[:len(rest)-1])
	require.Contains(t, rest[len(rest)-1], "received=60 ")
	require.Contains(t, rest[len(rest)-1], "dropped_handler=7")
}

// Client libraries put many lines into a datagram, and send only a part of what a counter counts.
func TestStatsdReadsEveryLine(t *testing.T) {
	p, c := start(t, "-every", "1h")
	require.NoError(t, c.Send([]byte("a:1|c\nb:-2|g\r\nbad\na:3|c|@0.1|#tag\n")))
	rest := p.Stop()
	require.NoError(t, p.Err())
	require.Equal(t, []string{`"a" 31 in 2 values, the highest 30`, `"b" -2 in 1 values, the highest -2`}, rest[:len(rest)-1])
	require.Contains(t, rest[len(rest)-1], "dropped_handler=1")
}

// A metric of several senders is in the tables of several workers.
func TestStatsdAddsUpItsTables(t *testing.T) {
	var out bytes.Buffer
	one, two := &table{metrics: map[string]metric{}}, &table{metrics: map[string]metric{}}
	one.Received(nil, udp.Datagram{Data: []byte("a:1|c\nb:5|g")})
	two.Received(nil, udp.Datagram{Data: []byte("a:2|c\nb:7|g")})
	report(&out, []*table{one, two})
	require.Equal(t, "\"a\" 3 in 2 values, the highest 2\n\"b\" 7 in 2 values, the highest 7\n", out.String())
}

func TestStatsdBeginsANewInterval(t *testing.T) {
	p, c := start(t, "-every", "10ms")
	for range 3 {
		require.NoError(t, c.Send([]byte("a:1|c")))
		p.Line(`^"a" 1 in 1 values, the highest 1$`)
	}
	p.Stop()
	require.NoError(t, p.Err())
}

func TestStatsdBoundsItsTables(t *testing.T) {
	w := &table{metrics: make(map[string]metric)}
	for i := range maxNames + 10 {
		w.Received(nil, udp.Datagram{Data: fmt.Appendf(nil, "%d:1|c", i)})
	}
	w.Received(nil, udp.Datagram{Data: []byte("1:1|c")})
	require.Len(t, w.metrics, maxNames)
	require.Equal(t, 2, w.metrics["1"].n)
}

func TestStatsdWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{{"-x"}, {"-every", "0"}, {"-workers", "-1"}, {"-listen", "nowhere"}, {"localhost:8125"}} {
		require.Error(t, run(t.Context(), args, io.Discard, udp.Config{}), "%v", args)
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte("requests:1|c"))
	f.Add([]byte("load:-2.5|g"))
	f.Add([]byte(":1|c"))
	f.Add([]byte("a:1|c|@0.1\nb:2|g\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		table := &table{metrics: map[string]metric{}}
		table.Received(nil, udptest.Datagram(udptest.Header{}, b))
		values := 0
		for key, m := range table.metrics { // each line is one value of the name before the colon
			require.NotEmpty(t, key)
			require.Contains(t, string(b), key+":")
			values += m.n
		}
		require.LessOrEqual(t, values, bytes.Count(b, []byte("\n"))+1)
	})
}
