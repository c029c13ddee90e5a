package sys

import "net/netip"

// sendmsg is write for control messages on a connected socket. Package net does not know that
// it is connected, and Windows accepts the peer as the destination. It always waits, because
// one call can't be made non-blocking.
func (c *Conn) sendmsg(data, oob []byte, to netip.AddrPort, _ bool) error {
	if !to.IsValid() && len(oob) > 0 {
		if to = c.peerNow(); !to.IsValid() {
			return sysErr("wsasendmsg", ENOTCONN)
		}
	}
	return c.write(data, oob, to, true)
}
