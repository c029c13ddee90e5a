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

// WhenReady calls open until it succeeds, fails with another error than the lack of a
// network, or ctx ends: at once, after each change of the interfaces, and every second. It
// returns open's last error, with ctx's if that has ended.
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

// lacksNetwork reports whether err may end once the host's network is configured.
func lacksNetwork(err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Temporary()
	}
	if errors.Is(err, sys.EAFNOSUPPORT) { // never: the system was built without it
		return false
	}
	return err != nil && (sys.Classify(err) == sys.Down || errors.Is(err, sys.ENETUNREACH))
}

// awaitAgain is how often await tries without a change of the interfaces: routes and name
// servers come without one.
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
