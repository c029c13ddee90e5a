package ifmon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// WhenReady calls open at once, after each change of the interfaces and every second, until it
// succeeds, or fails for another reason than the lack of a network, or ctx ends. It returns the
// last error of open, joined with ctx's if ctx has ended.
func WhenReady(ctx context.Context, source socket.Network, open func() error) error {
	err := open()
	if !lacksNetwork(err) || await(ctx, source, func() bool { err = open(); return !lacksNetwork(err) }) {
		return err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && !errors.Is(err, ctx.Err()) {
		late := *op
		late.Err = fmt.Errorf("%w: %w", op.Err, ctx.Err())
		return &late
	}
	return err
}

// lacksNetwork reports whether the cause of err may disappear once the network is configured.
func lacksNetwork(err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Temporary()
	}
	if errors.Is(err, sys.EAFNOSUPPORT) { // permanent: the system lacks the family
		return false
	}
	return err != nil && (sys.Classify(err) == sys.Down || errors.Is(err, sys.ENETUNREACH))
}

// awaitAgain is how often await tries without a change of the interfaces, since a route or a
// name server can appear without one.
const awaitAgain = time.Second

// await calls try until it returns true: at once, after each change of the interfaces, and
// every second. It returns false if ctx ends before that.
func await(ctx context.Context, source socket.Network, try func() bool) bool {
	changed := make(chan struct{}, 1)
	stop, err := Follow(source, func() bool {
		select {
		case changed <- struct{}{}:
		default:
		}
		return true
	})
	if err == nil { // netlink may be forbidden
		defer stop()
	}
	again := time.NewTicker(awaitAgain)
	defer again.Stop()
	for {
		if ctx.Err() == nil && try() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		case <-again.C:
		}
	}
}
