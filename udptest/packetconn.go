package udptest

import (
	"context"
	"net"
)

// ListenPacket is [net.ListenConfig.ListenPacket] on this host, for code that knows
// package net only. The net.PacketConn is a *udp.PacketConn.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	c, err := h.Config().ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// DialContext is [net.Dialer.DialContext] on this host, for the networks of UDP: it
// fits [net.Resolver.Dial] and the like. The net.Conn is a *udp.PacketConn.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return h.Config().DialContext(ctx, network, address)
}
