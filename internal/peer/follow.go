package peer

import (
	"net/netip"
	"runtime"
	"weak"

	"github.com/udpkit/udp/internal/ifmon"
	"github.com/udpkit/udp/internal/sys"
)

// mayLoseSource reports whether a socket that is about to be connected needs follow: the
// system will choose its source address, or the peer's zone binds it to an interface.
func (p *Peer) mayLoseSource(peer netip.Addr) bool {
	if !sys.SendsFromRemovedAddress || !p.kernel || p.unfollow != nil {
		return false
	}
	return peer.Zone() != "" || peer.Is6() && !peer.IsLoopback() && !peer.IsLinkLocalUnicast() && p.Local().Addr().IsUnspecified()
}

// FollowDevice makes a socket that is bound to an interface follow it.
func (p *Peer) FollowDevice() {
	if !p.kernel || !p.out.Socket.Info().Device {
		return
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.unfollow == nil {
		p.follow()
	}
}

// follow repairs a connected socket when its source address or its interface was removed:
// the system chooses a new source, or the socket is bound to the new interface of the
// name. Without it, an IPv6 socket of Linux continues to send from the removed address,
// and a socket that only receives never notices, because no call fails. It needs
// changing.
func (p *Peer) follow() {
	weakly := weak.Make(p) // so that an abandoned PacketConn is garbage-collected
	stop, err := ifmon.Follow(sys.Kernel{}, func() bool {
		p := weakly.Value()
		return p == nil || p.out.Socket.Reconcile() == nil // it fails while there is no address yet
	})
	if err == nil { // netlink may be forbidden
		p.unfollow = stop
		runtime.AddCleanup(p, func(stop func()) { stop() }, stop)
	}
}

// Stop ends follow when the socket has stopped.
func (p *Peer) Stop() {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.stopFollowing()
}

// stopFollowing needs changing.
func (p *Peer) stopFollowing() {
	if stop := p.unfollow; stop != nil {
		p.unfollow = nil
		stop()
	}
}
