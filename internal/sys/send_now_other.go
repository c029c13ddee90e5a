//go:build !unix || aix

package sys

import "net/netip"

// writeNow waits all the same: net offers no other way here, and neither Windows
// nor Plan 9 lets a single call on such a descriptor refuse to wait.
func (c *Conn) writeNow(data, oob []byte, to netip.AddrPort) error {
	return c.write(data, oob, to, true)
}
