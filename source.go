package udp

import (
	"net/netip"
	"runtime"
	"weak"

	"github.com/udpkit/udp/internal/ifmon"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// sourceFollower makes a connected socket choose its source address again once the
// host has lost the one in use, and binds a socket to its interface again once that was
// removed and another one has its name. Without it an IPv6 socket of Linux sends on from an
// address that was removed, and a socket that only receives never finds out; no call fails.
type sourceFollower struct {
	conn    weak.Pointer[Conn] // so that a PacketConn that was abandoned is collected
	monitor *ifmon.Monitor
}

var _ ifmon.Follower = (*sourceFollower)(nil)

// LeaveStale implements ifmon.Follower.
func (f *sourceFollower) LeaveStale([]socket.Interface, bool) bool { return false }

// Reconcile implements ifmon.Follower. When it fails, since there is no address yet,
// the Monitor calls it again later.
func (f *sourceFollower) Reconcile([]socket.Interface) bool {
	c := f.conn.Value()
	return c == nil || c.sock.Reconcile() == nil
}

func (f *sourceFollower) leave() { f.monitor.Leave(f) }

// onKernel says whether the socket is one of this host, and not of a simulated network.
func (c *Conn) onKernel() bool {
	source := c.cfg.source()
	if pulled, ok := source.(pulledNetwork); ok {
		source = pulled.Network
	}
	_, ok := source.(sys.Kernel)
	return ok
}

// mayLoseSource says whether the source address of a socket that is not connected yet
// will be the system's choice, and can be lost unnoticed, or whether the peer's zone
// binds the socket to an interface.
func (c *Conn) mayLoseSource(peer netip.Addr) bool {
	if !sys.SendsFromRemovedAddress || !c.onKernel() || c.peer.source != nil {
		return false
	}
	return peer.Zone() != "" || peer.Is6() && !peer.IsLoopback() && !peer.IsLinkLocalUnicast() && c.LocalAddrPort().Addr().IsUnspecified()
}

// followDevice starts a follower for a socket that is bound to an interface.
func (c *Conn) followDevice() {
	if !c.sock.Info().Device || !c.onKernel() {
		return
	}
	c.peer.changing.Lock()
	defer c.peer.changing.Unlock()
	if c.peer.source == nil {
		c.follow()
	}
}

// follow needs peer.changing.
func (c *Conn) follow() {
	f := &sourceFollower{conn: weak.Make(c)}
	var err error
	if f.monitor, err = ifmon.Join(sys.Kernel{}, f); err == nil { // netlink may be forbidden
		c.peer.source = f
		runtime.AddCleanup(c, (*sourceFollower).leave, f)
	}
}

// unfollowSource ends it; it needs peer.changing.
func (c *Conn) unfollowSource() {
	if f := c.peer.source; f != nil {
		c.peer.source = nil
		f.leave()
	}
}
