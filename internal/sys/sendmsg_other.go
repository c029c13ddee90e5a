//go:build (!unix && !windows) || aix

package sys

import "net/netip"

// sendmsg always waits, since package net has no call here that does not. There are no control
// messages.
func (c *Conn) sendmsg(data, _ []byte, to netip.AddrPort, _ bool) error {
	return c.write(data, nil, to, true)
}
