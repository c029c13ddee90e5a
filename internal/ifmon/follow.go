package ifmon

import (
	"github.com/udpkit/udp/internal/socket"
)

// change is a Follower without memberships: a function to call after each change.
type change func() bool

// LeaveStale implements Follower.
func (*change) LeaveStale([]socket.Interface, bool) bool { return false }

// Reconcile implements Follower.
func (f *change) Reconcile([]socket.Interface) bool { return (*f)() }

// Follow calls changed after each change of the interfaces until stop is called. If changed
// returns false, it is called again later. Like Join, Follow must run on the thread that opens
// the socket.
func Follow(source socket.Network, changed func() bool) (stop func(), err error) {
	f := (*change)(&changed)
	m, err := Join(source, f)
	if err != nil {
		return nil, err
	}
	return func() { m.Leave(f) }, nil
}
