package conformance

import (
	"net/netip"
	"slices"

	"github.com/udpkit/udp"
)

var membershipPromises = []promise{
	{"a membership outlives Connect, Reconnect and Disconnect", func(t *trial) {
		w := t.witness()
		m := t.join(w, 0, t.Group)
		one, two := t.open(udp.BaseHandler{}), t.open(udp.BaseHandler{})
		cc, err := m.Connect(one.LocalAddrPort())
		t.ok(err)
		t.ok(cc.Reconnect(two.LocalAddrPort()))
		_, err = cc.Disconnect()
		t.ok(err)
		ms := m.Memberships()
		equal(t, "memberships", len(ms), 1)
		equal(t, "held", ms[0].Held(), true)
		t.send(t.sender().Conn, netip.AddrPortFrom(t.Group, m.LocalAddrPort().Port()), "still a member")
		w.receives("still a member")
	}},
	{"Join without interfaces joins on every one that can", func(t *trial) {
		w := t.witness()
		m := t.join(w, 0)
		if err := m.Join(t.Group); unsupported(err) {
			t.Skip(err)
		} else {
			t.ok(err)
		}
		ms := m.Memberships()
		equal(t, "memberships", len(ms), 1)
		equal(t, "all", ms[0].All, true)
		equal(t, "held", ms[0].Held(), true)
		if t.Interface == nil || !slices.ContainsFunc(ms[0].On, func(on udp.InterfaceMembership) bool {
			return on.Index == t.Interface.Index && on.Err == nil
		}) {
			return // loopback is joined only when there is no other
		}
		t.send(t.sender().Conn, netip.AddrPortFrom(t.Group, m.LocalAddrPort().Port()), "everywhere")
		w.receives("everywhere")
	}},
	{"the outgoing interface is set and reset", func(t *trial) {
		m := t.sender()
		is := func(want int) {
			t.Helper()
			ifi, err := m.MulticastInterface()
			t.ok(err)
			got := 0
			if ifi != nil {
				got = ifi.Index
			}
			equal(t, "interface", got, want)
		}
		if t.Interface != nil {
			is(t.Interface.Index)
		}
		t.ok(m.SetMulticastInterface(nil))
		is(0)
	}},
	{"OnMembership is called when an interface goes down and comes up", func(t *trial) {
		if t.SetDown == nil {
			t.Skip("no interface can go down here")
		}
		w, changes := t.witness(), make(chan udp.Membership, 100)
		b := t.B.Config
		t.B.Config.OnMembership = func(_ *udp.MulticastConn, changed udp.Membership) { changes <- changed }
		m := t.join(w, 0, t.Group)
		t.B.Config = b
		for _, down := range []bool{true, false} {
			t.SetDown(down)
			for changed := range changes {
				equal(t, "group", changed.Group, t.Group)
				if changed.Held() != down {
					break
				}
			}
			equal(t, "held", m.Memberships()[0].Held(), !down)
		}
		t.send(t.sender().Conn, netip.AddrPortFrom(t.Group, m.LocalAddrPort().Port()), "again")
		w.receives("again")
	}},
}
