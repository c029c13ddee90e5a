//go:build !linux

package sys

import (
	"context"
	"errors"
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
)

// Balances reports whether the system distributes the datagrams of one port over several
// sockets and lets a socket leave without loss.
func Balances() bool { return false }

// membershipOf is empty: a Group has one socket here.
type membershipOf struct{}

func (*membershipOf) closed() {}

// PortGroup is empty: a Group has one socket here.
type PortGroup struct{}

// NewPortGroup returns nil, a PortGroup of one socket.
func NewPortGroup([]socket.Socket) *PortGroup { return nil }

// Steer does nothing.
func (*PortGroup) Steer() {}

// Steering returns SteeringNone.
func (*PortGroup) Steering() socket.Steering { return socket.SteeringNone }

// Leave does nothing.
func (*PortGroup) Leave(wait bool) {}

// freePort is not called: a Group has one socket here.
func (Kernel) freePort(context.Context, string, netip.AddrPort, socket.Options) (uint16, func(), error) {
	return 0, nil, errors.ErrUnsupported
}
