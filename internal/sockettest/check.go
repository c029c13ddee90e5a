package sockettest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// Patience is how long a test waits for what must happen before it fails. A shorter wait
// proves nothing.
const Patience = time.Minute

// CountersAgree checks that every datagram of a stopped socket is accounted for.
func CountersAgree(t testing.TB, s udp.Stats) {
	t.Helper()
	assert.Equal(t, s.Received, s.Handled+s.Dropped.Total(), "received is handled or dropped: %+v", s)
	f := s.SendFailed
	assert.Equal(t, s.SendErrors, f.TooLarge+f.Family+f.NoBuffers+f.Unreachable+f.Denied+f.Deadline+f.Closed+f.Other,
		"every failed send has a reason: %+v", s)
}

// Next receives from ch. It fails the test when nothing comes within Patience.
func Next[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(Patience):
		require.FailNow(t, "nothing was received")
	}
	return v
}

// Eventually waits until f returns true. Unlike testify's it calls f on the test's goroutine,
// so that f may end the test.
func Eventually(t testing.TB, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(t, "still not true")
		}
	}
}

// RequireSupported skips the test if err wraps errors.ErrUnsupported, and fails it for every
// other error.
func RequireSupported(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// RequireOpError checks that err is the *net.OpError that package net would return.
func RequireOpError(t testing.TB, err error, op string) *net.OpError {
	t.Helper()
	var oe *net.OpError
	require.ErrorAs(t, err, &oe)
	require.Equal(t, op, oe.Op, "%v", err)
	require.False(t, slices.Contains([]string{"", "<nil>"}, oe.Error()))
	var inner *net.OpError
	require.NotErrorAs(t, oe.Err, &inner, "one net.OpError only")
	return oe
}

// Canceled returns a context that has ended.
func Canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// RequireRefused checks what a Refusal says when nobody listens at peer.
func RequireRefused(t testing.TB, c *udp.Conn, r *udp.Refusal, peer netip.AddrPort, data string) {
	t.Helper()
	require.ErrorIs(t, r, udp.ErrRefused)
	require.ErrorIs(t, r, syscall.ECONNREFUSED)
	require.Equal(t, peer, r.Peer)
	require.Contains(t, r.Error(), peer.String())
	if !c.Info().ErrorQueue {
		return
	}
	require.Equal(t, data, string(r.Payload))
	require.Equal(t, peer.Addr(), r.Offender)
	want := [2]uint8{3, 3} // RFC 792: destination unreachable, port unreachable
	if peer.Addr().Is6() {
		want = [2]uint8{1, 4} // RFC 4443
	}
	require.Equal(t, want, [2]uint8{r.Type, r.Code})
	require.Zero(t, r.MTU)
}
