//go:build (!unix && !windows) || aix

package sys

import "net/netip"

// sendmsg waits in any case: net offers no other way here, and a single call on
// such a descriptor can't refuse to wait. There are no control messages here.
func (c *Conn) sendmsg(data, _ []byte, to netip.AddrPort, _ bool) error {
	return c.write(data, nil, to, true)
}
