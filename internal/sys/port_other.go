//go:build !linux

package sys

import "net"

// keepPort does nothing: only Linux releases a port when the peer changes.
func keepPort(*net.UDPConn, bool) (kept bool, err error) { return true, nil }
