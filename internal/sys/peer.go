package sys

import (
	"errors"
	"net/netip"
)

// peer is what a socket keeps about its association.
type peer struct {
	want   netip.AddrPort // the peer that it is to have; invalid: none
	has    netip.AddrPort // as the system has it
	set    bool           // the system has one, or what is left of trying
	broken bool           // a change has failed: the system has not what it is to have
	zoned  bool           // with set: the peer, or the one that was tried, has a zone
	device int32          // the interface that its owner has bound it to, 0: none
	name   string         // of device
}

// Connect implements socket.Socket.
func (c *Conn) Connect(to netip.AddrPort) (netip.AddrPort, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	err := c.setPeer(to)
	return c.peer.has, err
}

// setPeer is Connect. A socket that is connected already is disconnected first when
// another source address suits the new peer: connect(2) alone would keep the one that
// was chosen for the old peer.
func (c *Conn) setPeer(to netip.AddrPort) error {
	zone := to.Addr().Zone() + c.peer.want.Addr().Zone() // a link-local peer's interface gets in the way
	if connectsOver && zone == "" && c.peer.want.IsValid() && !c.peer.broken {
		// The error may be about the source address, chosen for the old peer, that was
		// removed since.
		err := connect(c.rc, to, c.inet6)
		switch {
		case err == nil && (!c.wildcard() || c.sourceFor(to, 0) == c.Local().Addr()):
			c.peer.want = to
			return c.connected(to)
		case err != nil && !(errors.Is(err, EINVAL) && c.wildcard()) && !c.sourceRemoved():
			return err
		}
	}
	return c.change(to)
}

// Disconnect implements socket.Socket.
func (c *Conn) Disconnect() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	return c.change(netip.AddrPort{})
}

// change replaces the peer, or takes it away. When that fails the old one is set
// again; when even that fails, since its interface or the socket's own address is
// gone, the next send does it.
func (c *Conn) change(to netip.AddrPort) error {
	if (c.ownOptions || c.exposed.Load()) && !c.peer.broken && !(c.peer.set && c.peer.zoned) { // else it may not be its owner's choice
		c.noteDevice()
	}
	if err := c.associate(to); err != nil {
		return errors.Join(err, c.restore())
	}
	c.peer.want, c.peer.broken = to, false
	return nil
}

// restore brings the system's state in line with what it is to be.
func (c *Conn) restore() error {
	err := c.associate(c.peer.want)
	c.peer.broken = err != nil
	return err
}

// associate makes the socket one that has this peer, or none.
func (c *Conn) associate(to netip.AddrPort) error {
	if c.peer.set {
		if err := c.disconnect(); err != nil {
			return err
		}
		c.peer.set = false
	}
	if to.IsValid() {
		err := connect(c.rc, c.byPresentName(to), c.inet6)
		// Linux binds the socket to a link-local peer's interface before it looks for
		// a way to it (__ip6_datagram_connect in net/ipv6/datagram.c of 6.18).
		c.peer.zoned = to.Addr().Zone() != ""
		c.peer.set = err == nil || c.peer.zoned
		if err != nil {
			return err
		}
		c.dissolved.Store(false)
	}
	return c.connected(to)
}

// connected notes the peer that the system has now, or that it has none.
func (c *Conn) connected(to netip.AddrPort) error {
	if now := c.Peer(); to.IsValid() && now.IsValid() {
		if now.Addr().Zone() == c.byPresentName(to).Addr().Zone() {
			now = netip.AddrPortFrom(now.Addr().WithZone(to.Addr().Zone()), now.Port())
		}
		to = now // the system may leave out a zone, or add one, and eBPF rewrites peers
	}
	c.peer.has = to
	c.connectTo(to.Addr().Zone())
	return c.peerChanged(to)
}

// disconnect dissolves the association. Linux then gives up a port that it had
// chosen itself, as that of an adopted socket may be (see keepPort), so the socket
// is bound again to the one that it had. A send that comes in between makes Linux
// choose another one, which it gives up likewise.
func (c *Conn) disconnect() error {
	for tries := 0; ; tries++ {
		if err := c.dissolve(); err != nil {
			return err
		}
		if c.Local().Port() == c.bound.Port() {
			c.portKept.Store(true)
			return nil
		}
		err := bind(c.rc, c.bound, c.inet6)
		c.portKept.Store(err == nil)
		if !errors.Is(err, EINVAL) || tries == maxBinds {
			return err
		}
	}
}

const maxBinds = 100
