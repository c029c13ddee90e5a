package ifmon

import (
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
