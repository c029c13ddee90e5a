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
	for _, args := range [][]string{{"-x"}, {"-every", "0"}, {"-workers", "-1"}, {"-listen", "nowhere"}} {
		require.Error(t, run(t.Context(), args, io.Discard, udp.Config{}), "%v", args)
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte("requests:1|c"))
	f.Add([]byte("load:-2.5|g"))
	f.Add([]byte(":1|c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		table := &table{metrics: map[string]metric{}}
		table.Received(nil, udptest.Datagram(udptest.Header{}, b))
		for key, m := range table.take() { // a line is one value of the name before the colon
			require.NotEmpty(t, key)
			require.True(t, bytes.HasPrefix(b, []byte(key+":")), "%q", b)
			require.Equal(t, 1, m.n)
		}
	})
}
