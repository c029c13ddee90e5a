package sys

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// listen binds a socket. For all addresses of both families it does not use package net, which
// binds to ::1 to find out whether the host has IPv6, and so listens on IPv4 only while lo is
// down, as in a new network namespace.
func listen(ctx context.Context, network string, local netip.AddrPort, control controlFunc) (*net.UDPConn, error) {
	port := portString(local.Port())
	if network == "udp" && !local.Addr().IsValid() {
		both := func(network, address string, rc syscall.RawConn) error {
			if err := setInt(rc, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
				return err
			}
			return control(network, address, rc)
		}
		uc, err := listenPacket(ctx, "udp6", "[::]:"+port, both)
		if err == nil || !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return uc, err
		}
		network = "udp4" // this host has no IPv6
	}
	if !local.Addr().IsValid() {
		return listenPacket(ctx, network, ":"+port, control)
	}
	// Package net caches the indexes of zones for a minute, even if the thread enters another
	// network namespace.
	if zone := local.Addr().Zone(); zone != "" {
		ifi, err := net.InterfaceByName(zone)
		_, isIndex := strconv.Atoi(zone)
		_, forbidden := errors.AsType[Errno](err) // to ask
		switch {
		case err == nil:
			local = netip.AddrPortFrom(local.Addr().WithZone(strconv.Itoa(ifi.Index)), local.Port())
		case isIndex != nil && !forbidden:
			return nil, fmt.Errorf("no interface %q: %w", zone, ENODEV)
		}
	}
	return listenPacket(ctx, network, local.String(), control)
}
