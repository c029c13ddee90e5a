package udp

import (
	"net/netip"

	"github.com/udpkit/udp/internal/ifmon"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// sourceFollower makes a connected socket choose its source address again once the
// host has lost the one in use, and binds a socket to its interface again once that was
// removed and another one has its name. Without it an IPv6 socket of Linux sends on from an
// address that was removed, and no call fails.
type sourceFollower struct {
	sock    socket.Socket
	monitor *ifmon.Monitor
}

var _ ifmon.Follower = (*sourceFollower)(nil)

// LeaveStale implements ifmon.Follower.
func (f *sourceFollower) LeaveStale([]socket.Interface, bool) bool { return false }

// Reconcile implements ifmon.Follower. When it fails, since there is no address yet,
// the Monitor calls it again later.
func (f *sourceFollower) Reconcile([]socket.Interface) bool { return f.sock.Reconcile() == nil }

// mayLoseSource says whether the source address of a socket that is not connected yet
// will be the system's choice, and can be lost unnoticed, or whether the peer's zone
// binds the socket to an interface.
func (c *Conn) mayLoseSource(peer netip.Addr) bool {
	if !sys.SendsFromRemovedAddress || c.cfg.Network != nil || c.peer.source != nil {
		return false
	}
	return peer.Zone() != "" || peer.Is6() && !peer.IsLoopback() && !peer.IsLinkLocalUnicast() && c.LocalAddrPort().Addr().IsUnspecified()
}

// followDevice starts a follower for a socket that is bound to an interface.
func (c *Conn) followDevice() {
	if !c.sock.Info().Device || c.cfg.Network != nil {
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
	f := &sourceFollower{sock: c.sock}
	var err error
	if f.monitor, err = ifmon.Join(c.cfg.source(), f); err == nil { // netlink may be forbidden
		c.peer.source = f
	}
}

// unfollowSource ends it; it needs peer.changing.
func (c *Conn) unfollowSource() {
	if f := c.peer.source; f != nil {
		c.peer.source = nil
		f.monitor.Leave(f)
	}
}
