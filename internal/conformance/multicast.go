package conformance

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/udpkit/udp"
)

// join makes a socket of B in groups.
func (t *trial) join(h udp.Handler, port uint16, groups ...netip.Addr) *udp.MulticastConn {
	t.Helper()
	if !t.Group.IsValid() {
		t.Skip("no multicast here")
	}
	cfg := t.B.Config
	cfg.ReuseAddr = true
	address := netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	if t.Network == "udp4" {
		address = netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	}
	m, err := cfg.ListenMulticast(context.Background(), t.Network, address.String(), h)
	t.ok(err)
	t.Cleanup(func() { m.Close() })
	for _, g := range groups {
		err := m.Join(g, t.interfaces()...)
		if unsupported(err) {
			t.Skip(err)
		}
		t.ok(err)
	}
	return m
}

func (t *trial) interfaces() []*net.Interface {
	if t.Interface == nil {
		return nil
	}
	return []*net.Interface{t.Interface}
}

// sender makes a socket of A that sends to groups.
func (t *trial) sender() *udp.MulticastConn {
	t.Helper()
	if !t.Group.IsValid() {
		t.Skip("no multicast here")
	}
	m, err := t.A.Config.ListenMulticast(context.Background(), t.Network, net.JoinHostPort(t.A.Addr.String(), "0"), udp.BaseHandler{})
	t.ok(err)
	t.Cleanup(func() { m.Close() })
	t.ok(m.SetMulticastInterface(t.Interface))
	return m
}

func (t *trial) otherGroup() netip.Addr {
	b := t.Group.AsSlice()
	b[len(b)-1]++
	g, _ := netip.AddrFromSlice(b)
	return g
}

var multicastPromises = []promise{
	{"only joined groups arrive, whatever other sockets have joined", func(t *trial) {
		w1, w2 := t.witness(), t.witness()
		m1 := t.join(w1, 0, t.Group)
		port := m1.LocalAddrPort().Port()
		m2 := t.join(w2, port, t.otherGroup())
		s := t.sender()
		t.send(s.Conn, netip.AddrPortFrom(t.Group, port), "for the first")
		t.send(s.Conn, netip.AddrPortFrom(t.otherGroup(), port), "for the second")
		d := w1.next("Received")
		equal(t, "text", d.text, "for the first")
		if m1.Info().PacketInfo {
			equal(t, "to", d.d.To().Addr().WithZone(""), t.Group)
		}
		w2.receives("for the second")
		t.settle()
		w1.quiet()
		w2.quiet()
		ms := m2.Memberships()
		equal(t, "memberships", len(ms), 1)
		equal(t, "group", ms[0].Group, t.otherGroup())
		equal(t, "held", ms[0].Held(), true)
	}},
	{"every member on a port gets a datagram of its own", func(t *trial) {
		w1, w2 := t.witness(), t.witness()
		m1 := t.join(w1, 0, t.Group)
		port := m1.LocalAddrPort().Port()
		t.join(w2, port, t.Group)
		t.send(t.sender().Conn, netip.AddrPortFrom(t.Group, port), "both")
		w1.receives("both")
		w2.receives("both")
	}},
	{"a source-specific membership admits its sources", func(t *trial) {
		if !t.Other.IsValid() {
			t.Skip("no other address here")
		}
		w, deaf := t.witness(), t.witness()
		m := t.join(w, 0)
		port := m.LocalAddrPort().Port()
		d := t.join(deaf, port)
		if err := d.JoinSource(t.Group, t.Other, t.interfaces()...); unsupported(err) {
			t.Skip(err)
		} else {
			t.ok(err)
		}
		t.ok(m.JoinSource(t.Group, t.Other, t.interfaces()...))
		t.ok(m.JoinSource(t.Group, t.A.Addr, t.interfaces()...))
		t.send(t.sender().Conn, netip.AddrPortFrom(t.Group, port), "specific")
		w.receives("specific")
		t.settle()
		deaf.quiet()
		t.ok(m.LeaveSource(t.Group, t.A.Addr, t.interfaces()...))
		t.is(m.LeaveSource(t.Group, t.A.Addr, t.interfaces()...), syscall.EADDRNOTAVAIL)
	}},
	{"a blocked source is not received until it is unblocked", func(t *trial) {
		w := t.witness()
		m := t.join(w, 0, t.Group)
		s := t.sender()
		to := netip.AddrPortFrom(t.Group, m.LocalAddrPort().Port())
		t.is(m.BlockSource(t.otherGroup(), t.A.Addr), syscall.EADDRNOTAVAIL)
		t.is(m.UnblockSource(t.Group, t.A.Addr), syscall.EADDRNOTAVAIL)
		t.ok(m.BlockSource(t.Group, t.A.Addr))
		equal(t, "blocked", slices.Equal(m.Memberships()[0].Blocked, []netip.Addr{t.A.Addr}), true)
		t.send(s.Conn, to, "blocked")
		t.send(s.Conn, t.at(m.Conn), "not to the group")
		w.receives("not to the group")
		t.ok(m.UnblockSource(t.Group, t.A.Addr))
		t.send(s.Conn, to, "heard again")
		w.receives("heard again")
		if t.Other.IsValid() {
			t.ok(m.BlockSource(t.Group, t.Other))
			t.send(s.Conn, to, "another is blocked")
			w.receives("another is blocked")
		}
		t.settle()
		w.quiet()
		if m.Info().MulticastFilter { // the system keeps it out, and the toolkit has nothing to drop
			equal(t, "dropped", m.Stats().Dropped.Stranger, 0)
		}
	}},
	{"a group does not arrive after Leave", func(t *trial) {
		w := t.witness()
		m := t.join(w, 0, t.Group)
		s := t.sender()
		to := netip.AddrPortFrom(t.Group, m.LocalAddrPort().Port())
		t.send(s.Conn, to, "one")
		w.receives("one")
		t.ok(m.Leave(t.Group, t.interfaces()...))
		t.is(m.Leave(t.Group, t.interfaces()...), syscall.EADDRNOTAVAIL)
		t.send(s.Conn, to, "two")
		t.send(s.Conn, t.at(m.Conn), "end")
		w.receives("end")
		equal(t, "memberships", len(m.Memberships()), 0)
		t.ok(m.Join(t.Group, t.interfaces()...))
		t.send(s.Conn, to, "three")
		w.receives("three")
	}},
	{"loopback and TTL limit how far a datagram goes", func(t *trial) {
		w := t.witness()
		m := t.join(w, 0, t.Group)
		s := t.sender()
		to := netip.AddrPortFrom(t.Group, m.LocalAddrPort().Port())
		here := t.A.Addr == t.B.Addr
		t.ok(s.SetMulticastLoopback(false))
		t.send(s.Conn, to, "for others")
		if !here || t.Interface != nil && t.Interface.Flags&net.FlagLoopback != 0 {
			w.receives("for others") // datagrams on the loopback interface are always looped back
		}
		t.ok(s.SetMulticastLoopback(true))
		t.ok(s.SetMulticastTTL(0))
		t.send(s.Conn, to, "for this host")
		if here {
			w.receives("for this host")
		}
		t.ok(s.SetMulticastTTL(1))
		t.send(s.Conn, to, "for both")
		w.receives("for both")
		t.settle()
		w.quiet()
	}},
	{"multicast options are checked and can be read back", func(t *trial) {
		m := t.sender()
		ttl, err := m.MulticastTTL()
		t.ok(err)
		equal(t, "TTL", ttl, 1)
		t.ok(m.SetMulticastTTL(7))
		ttl, err = m.MulticastTTL()
		t.ok(err)
		equal(t, "TTL", ttl, 7)
		t.is(m.SetMulticastTTL(256), syscall.EINVAL)
		t.is(m.SetMulticastTTL(-1), syscall.EINVAL)
		loop, err := m.MulticastLoopback()
		t.ok(err)
		equal(t, "loopback", loop, true)
		t.ok(m.SetMulticastLoopback(false))
		loop, err = m.MulticastLoopback()
		t.ok(err)
		equal(t, "loopback", loop, false)
		t.is(m.Join(t.A.Addr), syscall.EINVAL)
	}},
}
