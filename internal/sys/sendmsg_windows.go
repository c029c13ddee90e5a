package sys

import "net/netip"

// sendmsg is write for control messages on a connected socket, of which package net knows
// nothing: Windows lets it name its peer. It waits in any case: a single call can't refuse
// to.
func (c *Conn) sendmsg(data, oob []byte, to netip.AddrPort, _ bool) error {
	if !to.IsValid() && len(oob) > 0 {
		if to = c.peerNow(); !to.IsValid() {
			return sysErr("wsasendmsg", ENOTCONN)
		}
	}
	return c.write(data, oob, to, true)
}
