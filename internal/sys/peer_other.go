//go:build !linux

package sys

import "net/netip"

// connectsOver: elsewhere a connect that fails dissolves the old association.
const connectsOver = false

// SendsFromRemovedAddress: elsewhere Reconcile has nothing to find.
const SendsFromRemovedAddress = false

// noteDevice has nothing to note: no other system forgets it.
func (c *Conn) noteDevice() {}

func (c *Conn) lostDevice() bool { return false }

func (c *Conn) bindAgain() error { return nil }

// removed is not asked elsewhere: there a send from an address that was removed
// fails, and Reconnect chooses another.
func (c *Conn) removed(netip.Addr) bool { return false }

func (c *Conn) sourceFor(netip.AddrPort, int) netip.Addr { return netip.Addr{} }
