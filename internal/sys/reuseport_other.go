//go:build !linux

package sys

import (
	"context"
	"errors"
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
)

// Balances reports whether the system spreads the datagrams of one port over several
// sockets, and lets a socket leave without loss.
func Balances() bool { return false }

// membershipOf has no counterpart here.
type membershipOf struct{}

func (*membershipOf) closed() {}

// PortGroup has no counterpart here.
type PortGroup struct{}

// NewPortGroup returns nil, a PortGroup of one socket.
func NewPortGroup([]socket.Socket) *PortGroup { return nil }

// Steer does nothing.
func (*PortGroup) Steer() {}

// Steering returns SteeringNone.
func (*PortGroup) Steering() socket.Steering { return socket.SteeringNone }

// Leave does nothing.
func (*PortGroup) Leave(wait bool) {}

// freePort has no counterpart here.
func (Kernel) freePort(context.Context, string, netip.AddrPort, socket.Options) (uint16, func(), error) {
	return 0, nil, errors.ErrUnsupported
}
