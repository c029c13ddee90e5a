package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func put(b []byte, t time.Time) {
	binary.BigEndian.PutUint32(b, uint32(t.Unix()+secondsFrom1900))
	binary.BigEndian.PutUint32(b[4:], uint32(int64(t.Nanosecond())<<32/int64(time.Second)))
}

// serve starts a time server whose clock is ahead, and which changes its responses.
func serve(t *testing.T, ahead time.Duration, change func(response []byte)) string {
	t.Helper()
	c, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		response := make([]byte, size)
		response[0], response[1] = version<<3|server, 2
		copy(response[originAt:], d.Data[sentAt:])
		put(response[receivedAt:], time.Now().Add(ahead))
		put(response[sentAt:], time.Now().Add(ahead))
		change(response)
		_ = d.Reply(response)
	}))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.LocalAddrPort().String()
}

func TestNTPFindsTheOffset(t *testing.T) {
	const ahead = 90 * time.Second
	addr := serve(t, ahead, func([]byte) {})
	c, err := exchange.New(exchange.Config[[8]byte]{Key: key, Match: valid, SocketPerRequest: true, Socket: udp.Config{Timestamps: true}})
	require.NoError(t, err)
	defer c.Close()
	s, err := ask(t.Context(), c, addr)
	require.NoError(t, err)
	require.Equal(t, addr, s.from)
	require.Less(t, (s.offset - ahead).Abs(), s.delay/2+time.Microsecond, "the error that it reports is a bound")

	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-wait", "1m", addr}, &out, udp.Config{}))
	require.Contains(t, out.String(), addr+" ("+addr+"): offset ")
}

func TestNTPRejectsWhatIsNotValid(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"another request":  func(b []byte) { b[originAt]++ },
		"not synchronized": func(b []byte) { b[0] |= unsynchronized << 6 },
		"kiss of death":    func(b []byte) { b[1] = 0 },
		"no time":          func(b []byte) { clear(b[sentAt:]) },
		"a request":        func(b []byte) { b[0] = version<<3 | client },
	} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, 0, change)
			var timeout *exchange.TimeoutError
			err := run(t.Context(), []string{"-tries", "1", "-wait", "20ms", addr}, io.Discard, udp.Config{})
			require.ErrorAs(t, err, &timeout)
		})
	}
}

func TestTimestampsOfTheNextEra(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(2026, 1, 2, 3, 4, 5, 500_000_000, time.UTC), time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC),
		time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		b := make([]byte, 8)
		put(b, at)
		require.Equal(t, at, timeAt(b, at.Add(time.Hour)).UTC())
		require.Equal(t, at, timeAt(b, at.Add(-time.Hour)).UTC())
	}
}

func TestNTPStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, []string{"127.0.0.1:123"}, io.Discard, udp.Config{}), context.Canceled)
}

func TestNTPWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"-tries", "0", "a:1"}, {"-wait", "0", "a:1"}, {"127.0.0.1"}} {
		require.Error(t, run(t.Context(), args, io.Discard, udp.Config{}), "%v", args)
	}
}

func FuzzResponse(f *testing.F) {
	response := make([]byte, size)
	response[0], response[1] = version<<3|server, 2
	put(response[receivedAt:], time.Unix(1_800_000_000, 1))
	put(response[sentAt:], time.Unix(1_800_000_000, 999_999_999))
	f.Add(response)
	f.Add(response[:size-1])
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := key(b); !ok || !valid(nil, b) {
			return
		}
		for _, at := range []int{receivedAt, sentAt} { // in the era that is nearest
			require.LessOrEqual(t, timeAt(b[at:], now).Sub(now).Abs(), (secondsOfOneEra/2+1)*time.Second)
		}
	})
}
