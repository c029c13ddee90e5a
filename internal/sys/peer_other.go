//go:build !linux

package sys

import "net/netip"

// connectsOver: a failed connect dissolves the old association.
const connectsOver = false

// SendsFromRemovedAddress: Reconcile has nothing to find.
const SendsFromRemovedAddress = false

// noteDevice does nothing: only Linux loses the interface.
func (c *Conn) noteDevice() {}

func (c *Conn) lostDevice() bool { return false }

func (c *Conn) bindAgain() error { return nil }

// removed is not used: a send from a removed address fails, and Reconnect chooses another.
func (c *Conn) removed(netip.Addr) bool { return false }

func (c *Conn) sourceFor(netip.AddrPort, int) netip.Addr { return netip.Addr{} }
