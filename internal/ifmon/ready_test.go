package ifmon

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/sys"
)

func failing(err error) error { return &net.OpError{Op: "listen", Net: "udp", Err: err} }

// WhenReady waits for a network only, not for the end of other errors.
func TestWhenReadyReturnsOtherErrorsAtOnce(t *testing.T) {
	for _, err := range []error{
		nil,
		failing(os.NewSyscallError("bind", sys.EINVAL)),
		failing(os.NewSyscallError("socket", sys.EAFNOSUPPORT)),
		failing(&net.DNSError{Err: "no such host", IsNotFound: true}),
	} {
		calls := 0
		require.Equal(t, err, WhenReady(context.Background(), &network{}, func() error { calls++; return err }))
		require.Equal(t, 1, calls)
	}
}

func TestWhenReadyTriesAfterChangesAndEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		var calls atomic.Int64
		var ready atomic.Bool
		open := func() error {
			if calls.Add(1); ready.Load() {
				return nil
			}
			return failing(os.NewSyscallError("bind", sys.EADDRNOTAVAIL))
		}
		result := make(chan error, 1)
		start := func() { go func() { result <- WhenReady(context.Background(), n, open) }() }

		start()
		synctest.Wait()
		require.Len(t, result, 0)
		ready.Store(true)
		n.set(nil, 1)
		begin := time.Now()
		require.NoError(t, <-result)
		require.Less(t, time.Since(begin), time.Second)

		ready.Store(false)
		calls.Store(0)
		start()
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		require.GreaterOrEqual(t, calls.Load(), int64(10))
		ready.Store(true)
		require.NoError(t, <-result)
	})
}

// The error has what was missing and that the time was up.
func TestWhenReadyEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		first := failing(&net.DNSError{Err: "no server", IsTemporary: true})
		err := WhenReady(ctx, &network{}, func() error { return first })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorAs(t, err, new(*net.DNSError))
		require.ErrorAs(t, err, new(*net.OpError))
		require.NotErrorIs(t, first, context.DeadlineExceeded, "the error of open is not changed")

		bare := errors.New("bare")
		cancel()
		require.ErrorIs(t, WhenReady(ctx, &network{}, func() error { return bare }), bare)
	})
}
