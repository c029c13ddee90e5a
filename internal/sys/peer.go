package sys

import (
	"errors"
	"net/netip"
)

// peer is the state of a socket's association.
type peer struct {
	want   netip.AddrPort // the desired peer; invalid: none
	has    netip.AddrPort // the system's peer
	set    bool           // the system has a peer, or remains of a failed connect
	broken bool           // a change failed: the system's peer is not the desired one
	zoned  bool           // with set: that peer, or the one of the failed connect, has a zone
	device int32          // the interface that its owner bound it to, 0: none
	name   string         // of device
}

// Connect implements socket.Socket.
func (c *Conn) Connect(to netip.AddrPort) (netip.AddrPort, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	err := c.setPeer(to)
	return c.peer.has, err
}

// setPeer is Connect. connect(2) on a connected socket keeps the source address that was
// chosen for the old peer. If the new peer needs another one, the socket is disconnected first.
func (c *Conn) setPeer(to netip.AddrPort) error {
	zone := to.Addr().Zone() + c.peer.want.Addr().Zone() // a link-local peer's interface gets in the way
	if connectsOver && zone == "" && c.peer.want.IsValid() && !c.peer.broken {
		// The source address, chosen for the old peer, may have been removed.
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

// change replaces or removes the peer. If that fails, the old peer is set again. If that fails
// too, because its interface or the socket's own address is missing, the next send repairs it.
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

// restore gives the socket the desired peer.
func (c *Conn) restore() error {
	err := c.associate(c.peer.want)
	c.peer.broken = err != nil
	return err
}

// associate connects the socket to a peer, or disconnects it.
func (c *Conn) associate(to netip.AddrPort) error {
	if c.peer.set {
		if err := c.disconnect(); err != nil {
			return err
		}
		c.peer.set = false
	}
	if to.IsValid() {
		err := connect(c.rc, c.byPresentName(to), c.inet6)
		// Linux binds the socket to a link-local peer's interface before it looks up the
		// route (__ip6_datagram_connect in net/ipv6/datagram.c of 6.18).
		c.peer.zoned = to.Addr().Zone() != ""
		c.peer.set = err == nil || c.peer.zoned
		if err != nil {
			return err
		}
		c.dissolved.Store(false)
	}
	return c.connected(to)
}

// connected records the peer that the system has now, if any.
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

// disconnect dissolves the association. If Linux chose the port itself, as it may have for an
// adopted socket (see keepPort), it also releases the port, so the socket is bound to it again.
// A send in between makes Linux choose another port, which it then releases, too.
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
