package udp

import (
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
)

// Settle is what the monitor does after a change.
func Settle(m *MulticastConn, known []socket.Interface) { m.groups.settle(known) }

// Wants is what the reader asks about each datagram.
func Wants(m *MulticastConn, to, source netip.Addr, ifindex int) bool {
	return m.groups.wants(to, source, ifindex)
}
