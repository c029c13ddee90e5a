//go:build !linux

package sys

import (
	"context"
	"net"
	"net/netip"
)

// listen binds a socket.
func listen(ctx context.Context, network string, local netip.AddrPort, control controlFunc) (*net.UDPConn, error) {
	address := local.String()
	if !local.Addr().IsValid() {
		address = ":" + portString(local.Port())
	}
	return listenPacket(ctx, network, address, control)
}
