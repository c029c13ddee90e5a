package peer

import (
	"net/netip"
	"runtime"
	"weak"

	"github.com/udpkit/udp/internal/ifmon"
	"github.com/udpkit/udp/internal/sys"
)

// mayLoseSource says whether the source address of a socket that is not connected yet
// will be the system's choice, and can be lost unnoticed, or whether the peer's zone
// binds the socket to an interface.
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

// follow makes a connected socket choose its source address again once the host has lost
// the one in use, and binds a socket to its interface again once that was removed and
// another one has its name. Without it an IPv6 socket of Linux sends on from an address
// that was removed, and a socket that only receives never finds out; no call fails. It
// needs changing.
func (p *Peer) follow() {
	weakly := weak.Make(p) // so that a PacketConn that was abandoned is collected
	stop, err := ifmon.Follow(sys.Kernel{}, func() bool {
		p := weakly.Value()
		return p == nil || p.out.Socket.Reconcile() == nil // it fails while there is no address yet
	})
	if err == nil { // netlink may be forbidden
		p.unfollow = stop
		runtime.AddCleanup(p, func(stop func()) { stop() }, stop)
	}
}

// Stop is called when the socket has stopped: it follows nothing any more.
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
