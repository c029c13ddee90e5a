package ifmon

import (
	"context"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// change is a Follower that has no memberships.
type change func() bool

// LeaveStale implements Follower.
func (*change) LeaveStale([]socket.Interface, bool) bool { return false }

// Reconcile implements Follower.
func (f *change) Reconcile([]socket.Interface) bool { return (*f)() }

// Follow calls changed after each change of the interfaces until stop is called, and again
// later when it has returned false. It must run on the thread that opens the socket, as Join.
func Follow(source socket.Network, changed func() bool) (stop func(), err error) {
	f := (*change)(&changed)
	m, err := Join(source, f)
	if err != nil {
		return nil, err
	}
	return func() { m.Leave(f) }, nil
}

// awaitAgain is how often Await tries without a change of the interfaces: routes and name
// servers come without one.
const awaitAgain = time.Second

// Await calls try until it returns true: at once, after each change of the interfaces, and
// every second. It returns false if ctx ends before that.
func Await(ctx context.Context, source socket.Network, try func() bool) bool {
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
