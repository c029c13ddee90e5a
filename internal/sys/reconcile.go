package sys

import (
	"errors"
	"fmt"
)

// Rebinds implements socket.Socket.
func (c *Conn) Rebinds() uint64 { return c.rebinds.Load() }

// Reconcile implements socket.Socket. It is for changes that make no call fail: a connected
// IPv6 socket keeps sending from an address that was removed.
func (c *Conn) Reconcile() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	_, err := c.reconcile()
	return err
}

// sendFailed returns the error for the caller of a send that failed: EAGAIN if the socket was
// damaged and is repaired, so that the send should be repeated; the reason if it can't be
// repaired; or err.
func (c *Conn) sendFailed(err error) error {
	if err = unwrapOp(err); err == nil || c.alone.Load() {
		return err
	}
	noPeer := Classify(err) == NoPeer
	if !noPeer && !suspicious(err) {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if !c.peer.want.IsValid() && !c.info.Device && !errors.Is(err, ECONNABORTED) {
		return err
	}
	repaired, rerr := c.reconcile()
	switch {
	case rerr != nil:
		return rerr
	case repaired, noPeer, errors.Is(err, ECONNABORTED): // with noPeer the send met a change of the peer, which is complete now
		return sysErr("send", repeat)
	}
	return err
}

// suspicious reports whether the error of a send may mean that the socket was destroyed, or
// that its source address or its interface was removed.
func suspicious(err error) bool {
	for _, e := range [...]error{ECONNABORTED, ENETUNREACH, EINVAL, EADDRNOTAVAIL, ENODEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// destroyed is called after a read returned ECONNABORTED: the socket was destroyed from outside
// (SOCK_DESTROY of Linux, which "ss -K", Android and Cilium use). It returns an error if the
// socket can't be repaired.
func (c *Conn) destroyed() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.alone.Load() {
		return nil
	}
	repaired, err := c.reconcile()
	if err == nil && !repaired && !c.peer.want.IsValid() {
		c.rebinds.Add(1) // a socket without a peer that was bound by number stays bound
		c.Wake()         // its reader reports it
	}
	return err
}

// reconcile compares the port, the interface, the peer and the source address that the system
// has with those that the socket should have, and repairs differences. c.changing must be held.
func (c *Conn) reconcile() (repaired bool, err error) {
	if lost := c.lost.Load(); lost != nil {
		return false, *lost
	}
	local, err := getsockname(c.rc)
	if err != nil {
		return false, unwrapOp(err)
	}
	unbound := local.Port() != c.bound.Port()
	noPeer := c.peer.want.IsValid() && !c.Peer().IsValid()
	destroyed := unbound || noPeer && !c.peer.broken
	moved := c.lostDevice()
	switch {
	case !destroyed && !noPeer && !moved && !c.sourceRemoved():
		return false, nil
	case !c.peer.want.IsValid():
		if destroyed {
			err = c.dissolve() // which also restores the interface
		} else {
			err = c.bindAgain()
		}
		if err == nil && unbound {
			err = bind(c.rc, c.bound, c.inet6)
		}
	default:
		c.peer.set = true // so that any peer is removed
		err = c.restore()
	}
	switch {
	case err == nil:
		c.portKept.Store(c.portKept.Load() || unbound)
		c.rebinds.Add(1)
		c.Wake() // its reader reports it
		return true, nil
	case destroyed:
		err = fmt.Errorf("%w, and could not be restored: %w", sysErr("recvmsg", ECONNABORTED), err)
		c.lost.Store(&err)
		c.Wake()
	}
	return false, err
}

// sourceRemoved reports whether the host has lost the source address that the system chose for
// the peer. It is also true if the socket has no source address and could get one now: Linux
// connects a socket that is bound to an interface without an address from 0.0.0.0
// (ip_route_output_key_hash_rcu in net/ipv4/route.c). c.changing must be held.
func (c *Conn) sourceRemoved() bool {
	if !c.wildcard() || !c.peer.want.IsValid() || c.peer.broken {
		return false
	}
	if source := c.Local().Addr(); !source.IsUnspecified() {
		return c.removed(source)
	}
	source := c.sourceFor(c.peer.want, 0)
	return source.IsValid() && !source.IsUnspecified()
}
