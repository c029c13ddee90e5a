package udp

import (
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
)

// Settle is what the monitor does after a change.
func Settle(m *MulticastConn, known []socket.Interface) {
	m.groups.letGo(known, true)
	m.groups.settle(known)
}

// Wants is what the reader asks about each datagram.
func Wants(m *MulticastConn, to, source netip.Addr, ifindex int) bool {
	return m.groups.wants(to, source, ifindex)
}

// Counters are those of a socket, without one.
type Counters = counters

// CountRead counts what a read of n datagrams and handling them does.
func CountRead(k *Counters, n, bytes int) {
	k.read(n, bytes)
	k.handled.Add(int64(n))
}
