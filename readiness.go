package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/udpkit/udp/internal/ifmon"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// readiness follows the interfaces for a call that waits for them.
type readiness struct{ changed chan struct{} }

var _ ifmon.Follower = (*readiness)(nil)

// LeaveStale implements ifmon.Follower.
func (r *readiness) LeaveStale([]socket.Interface, bool) bool { return false }

// Reconcile implements ifmon.Follower.
func (r *readiness) Reconcile([]socket.Interface) bool {
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return true
}

// tryAgainEvery is how often a call that waits for the network tries again without news
// of an interface: routes and name servers bring none.
const tryAgainEvery = time.Second

// whenReady calls open, and with Config.WaitForNetwork again, until it fails with another
// error than the lack of a network, or ctx ends.
func (cfg *Config) whenReady(ctx context.Context, open func() error) error {
	err := open()
	if !cfg.WaitForNetwork || !lacksNetwork(err) {
		return err
	}
	r := &readiness{make(chan struct{}, 1)}
	if monitor, merr := ifmon.Join(cfg.source(), r); merr == nil { // netlink may be forbidden
		defer monitor.Leave(r)
	}
	again := time.NewTicker(tryAgainEvery)
	defer again.Stop()
	for {
		if ctx.Err() == nil { // also once more now that changes are noticed
			if err = open(); !lacksNetwork(err) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			if op, ok := errors.AsType[*net.OpError](err); ok && !errors.Is(err, ctx.Err()) {
				late := *op
				late.Err = fmt.Errorf("%w: %w", op.Err, ctx.Err())
				return &late
			}
			return err
		case <-r.changed:
		case <-again.C:
		}
	}
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
