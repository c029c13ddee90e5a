package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
)

// A responder answers questions about a service, for one family.
type responder struct {
	udp.BaseHandler
	service service
	group   netip.Addr
	fail    context.CancelCauseFunc
	out     io.Writer
}

func announce(ctx context.Context, s settings, stdout io.Writer) error {
	v, err := newService(s)
	if err != nil {
		return err
	}
	interrupted := ctx
	ctx, fail := context.WithCancelCause(interrupted)
	defer fail(nil)
	failing := &troubles{out: stdout}
	cfg := udp.Config{OnMembership: func(m *udp.MulticastConn, changed udp.Membership) {
		// An interface may have appeared. Announce the service to the hosts behind it; the others
		// just hear of it again.
		tell(m, changed, v.records, failing)
	}}
	all, err := open(ctx, cfg, s, true, func(group netip.Addr) udp.Handler {
		return &responder{service: v, group: group, fail: fail, out: stdout}
	})
	if err != nil {
		return err
	}
	defer all.close()
	for _, l := range all {
		for _, on := range l.Memberships()[0].On {
			if on.Err != nil {
				fmt.Fprintf(stdout, "can't join on %s: %v\n", on.Name, on.Err)
				continue
			}
			fmt.Fprintf(stdout, "joined %v on %s\n", l.group, on.Name)
		}
	}
	all.tell(v.records, failing)
	fmt.Fprintf(stdout, "announcing %v by mDNS, port %d\n", v.instance, all[0].port)
	// Once more, since datagrams get lost (RFC 6762, section 8.3).
	select {
	case <-time.After(time.Second):
		all.tell(v.records, failing)
		fmt.Fprintln(stdout, "announced again")
		<-ctx.Done()
	case <-ctx.Done():
	}
	all.tell(func([]netip.Addr) []dnsmessage.Resource { return v.goodbye() }, failing)
	if err := context.Cause(ctx); err != context.Cause(interrupted) {
		return err
	}
	return nil
}

// tell announces records, on each interface those that are valid there.
func (all links) tell(records func([]netip.Addr) []dnsmessage.Resource, failing *troubles) {
	for _, l := range all {
		for _, joined := range l.Memberships() {
			tell(l.MulticastConn, joined, records, failing)
		}
	}
}

func tell(m *udp.MulticastConn, joined udp.Membership, records func([]netip.Addr) []dnsmessage.Resource, failing *troubles) {
	for _, on := range joined.On {
		if on.Err != nil {
			continue
		}
		b, err := response(records(addresses(on.Index))).Pack()
		if err == nil {
			_, err = m.SendGroup(b, joined.Group, m.LocalAddrPort().Port(), &net.Interface{Index: on.Index, Name: on.Name})
		}
		failing.note(joined.Group, on.Name, err)
	}
}

// addresses returns those of an interface, or of all if it is unknown (0).
func addresses(index int) (all []netip.Addr) {
	ifi, err := net.InterfaceByIndex(index)
	addrs := []net.Addr(nil)
	if err == nil {
		addrs, _ = ifi.Addrs()
	} else if index == 0 {
		addrs, _ = net.InterfaceAddrs()
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all
}

func (r *responder) Received(c *udp.Conn, d udp.Datagram) {
	// A unicast query may come from another network.
	if d.To().IsValid() && d.To().Addr().WithZone("") != r.group {
		return
	}
	var query dnsmessage.Message
	if query.Unpack(d.Data) != nil || query.Response || query.OpCode != 0 || len(query.Questions) == 0 {
		return
	}
	answer, ok := r.service.answer(&query, addresses(d.IfIndex()))
	if !ok {
		return
	}
	m, _ := c.Multicast()
	port := m.LocalAddrPort().Port()
	ordinary := d.From.Port() != port
	if ordinary {
		forOrdinary(answer, &query)
	}
	b, err := answer.Pack()
	switch {
	case err != nil:
	case ordinary || query.Questions[0].Class&topBit != 0:
		err = d.Reply(b)
	default:
		var by []*net.Interface
		for _, on := range m.Memberships()[0].On {
			if on.Index == d.IfIndex() && on.Err == nil {
				by = append(by, &net.Interface{Index: on.Index, Name: on.Name})
			}
		}
		_, err = m.SendGroup(b, r.group, port, by...)
	}
	if err != nil {
		fmt.Fprintln(r.out, err)
		return
	}
	fmt.Fprintf(r.out, "%v asked for %v\n", d.From, clean(query.Questions[0].Name.String()))
}

func (r *responder) Stopped(_ *udp.Conn, err error) {
	if err != nil {
		r.fail(err)
	}
}
