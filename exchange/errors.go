package exchange

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Do returns these errors, and those of package udp, in a [*net.OpError].
var (
	// ErrNoKey means that Config.Key found no key in the request.
	ErrNoKey = errors.New("exchange: Config.Key found no key in the request")
	// ErrDuplicate means that a request with the same key waits for a response of the same server.
	ErrDuplicate = errors.New("exchange: a request with the same key to the same server is outstanding")
	// ErrTooMany means that Config.MaxOutstanding requests wait for responses.
	ErrTooMany = errors.New("exchange: Config.MaxOutstanding requests are outstanding")
)

var (
	errUnmade   = &ConfigError{"Client", "must be created by New"}
	errPanicked = errors.New("a function of the Config panicked")
)

// A TimeoutError means that a server did not respond to any of the transmissions. It is
// os.ErrDeadlineExceeded for [errors.Is], and a timeout in the sense of [net.Error].
type TimeoutError struct {
	Sent   int           // transmissions
	Waited time.Duration // since the first
}

// Error implements error.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("no response to %d transmissions in %v", e.Sent, e.Waited.Round(time.Millisecond))
}

// Timeout returns true.
func (e *TimeoutError) Timeout() bool { return true }

// Is reports that e is os.ErrDeadlineExceeded.
func (e *TimeoutError) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// ended returns why ctx has ended. Its cause alone would not show that the request was
// canceled: the cause of an errgroup's context is the error of another goroutine.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return &contextError{err, cause}
}

// contextError is the error of a context that has another cause.
type contextError struct{ err, cause error }

func (e *contextError) Error() string   { return fmt.Sprintf("%v: %v", e.err, e.cause) }
func (e *contextError) Unwrap() []error { return []error{e.err, e.cause} }
func (e *contextError) Timeout() bool   { return e.err == context.DeadlineExceeded }
