package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/udpkit/udp"
)

// A link is multicast DNS over one family. Programs with both families use each independently (RFC
// 6762, section 20).
type link struct {
	*udp.MulticastConn
	group netip.Addr
	port  uint16
}

// groups are those of RFC 6762, section 3.
var groups = map[string]netip.Addr{
	"udp4": netip.MustParseAddr("224.0.0.251"),
	"udp6": netip.MustParseAddr("ff02::fb"),
}

// links are of the families that this host has.
type links []*link

// open makes a socket for each family that this host has, and fails if there is none. A member
// shares the port with other programs and receives the group. A socket that is no member has a
// port of its own and receives unicast only.
func open(ctx context.Context, cfg udp.Config, s settings, member bool, handler func(group netip.Addr) udp.Handler) (links, error) {
	var all links
	var errs []error
	// Receivers may check the TTL, so that nothing arrives from another network (RFC 6762,
	// section 11): 255 for replies to one host, too.
	cfg.TTL = 255
	for _, network := range []string{"udp4", "udp6"} {
		l := &link{group: groups[network], port: s.port}
		local := uint16(0)
		if member {
			local, cfg.ReuseAddr = s.port, true
		}
		m, err := cfg.ListenMulticast(ctx, network, fmt.Sprintf(":%d", local), handler(l.group))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.MulticastConn = m
		err = m.SetMulticastTTL(255)
		if err == nil && member {
			err = m.Join(l.group, s.ifs...)
		}
		if err != nil {
			m.Close()
			errs = append(errs, err)
			continue
		}
		if member {
			l.port = m.LocalAddrPort().Port()
			s.port = l.port
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

func (all links) close() {
	for _, l := range all {
		l.Close()
	}
}

// send sends to the groups on the named interfaces or on all. One that works is enough.
func (all links) send(b []byte, ifs []*net.Interface) error {
	var errs []error
	for _, l := range all {
		if _, err := l.SendGroup(b, l.group, l.port, ifs...); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(all) {
		return errors.Join(errs...)
	}
	return nil
}
