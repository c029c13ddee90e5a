package conformance

import (
	"net/netip"
	"syscall"

	"github.com/udpkit/udp"
)

var connectedPromises = []promise{
	{"Connect keeps the port and the handler, and drops queued datagrams of unexpected sources", func(t *trial) {
		w := t.witness()
		w.gate = make(chan struct{})
		c := t.listen(w)
		peer, unexpected := t.open(udp.BaseHandler{}), t.open(udp.BaseHandler{})
		t.send(peer, t.at(c), "first")
		w.receives("first")
		t.send(unexpected, t.at(c), "a", "b")
		t.send(peer, t.at(c), "second")
		t.send(unexpected, t.at(c), "c")
		t.settle()
		port := c.LocalAddrPort().Port()
		cc, err := c.Connect(peer.LocalAddrPort())
		t.ok(err)
		close(w.gate)
		w.receives("second")
		equal(t, "port", cc.LocalAddrPort().Port(), port)
		equal(t, "local address", cc.LocalAddrPort().Addr(), t.B.Addr)
		equal(t, "peer", cc.RemoteAddrPort(), peer.LocalAddrPort())
		s := t.rest(c, func(s udp.Stats) bool { return s.Received == 5 })
		equal(t, "strangers", s.Dropped.Stranger, 3)
		t.send(unexpected, t.at(c), "later")
		t.send(peer, t.at(c), "third")
		w.receives("third")
		if _, connected := c.Connected(); !connected {
			t.Fatal("Connected does not know it")
		}
	}},
	{"a connected socket sends to its peer only", func(t *trial) {
		w := t.witness()
		c := t.listen(w)
		cc := t.dial(c, udp.BaseHandler{})
		t.ok(cc.Send([]byte("one")))
		t.ok(cc.SendTo([]byte("two"), t.at(c)))
		t.is(cc.SendTo(nil, netip.AddrPortFrom(t.B.Addr, 9)), syscall.EISCONN)
		_, err := cc.Connect(t.at(c))
		t.is(err, syscall.EISCONN)
		w.receives("one", "two")
	}},
	{"Reconnect changes the peer and nothing else", func(t *trial) {
		w1, w2, w := t.witness(), t.witness(), t.witness()
		c1, c2 := t.listen(w1), t.listen(w2)
		cc := t.dial(c1, w)
		port := cc.LocalAddrPort().Port()
		t.ok(cc.Send([]byte("to one")))
		from := w1.next("Received").d.From
		t.ok(cc.Reconnect(t.at(c2)))
		equal(t, "port", cc.LocalAddrPort().Port(), port)
		equal(t, "peer", cc.RemoteAddrPort(), t.at(c2))
		t.ok(cc.Send([]byte("to two")))
		equal(t, "from", w2.next("Received").d.From, from)
		t.send(c1, from, "old")
		t.send(c2, from, "new")
		w.receives("new")
	}},
	{"Disconnect lets the socket receive from all sources again", func(t *trial) {
		w := t.witness()
		c := t.listen(udp.BaseHandler{})
		cc := t.dial(c, w)
		local := cc.LocalAddrPort()
		open, err := cc.Disconnect()
		t.ok(err)
		equal(t, "port", open.LocalAddrPort().Port(), local.Port())
		equal(t, "unspecified", open.LocalAddrPort().Addr().IsUnspecified(), true)
		unexpected := t.on(t.B, t.Network, t.B.Addr.String(), udp.BaseHandler{})
		t.send(unexpected, local, "hello")
		w.receives("hello")
		t.is(cc.Send(nil), syscall.ENOTCONN)
		_, err = cc.Disconnect()
		t.is(err, syscall.ENOTCONN)
		t.is(cc.Reconnect(t.at(c)), syscall.ENOTCONN)
		equal(t, "peer", cc.RemoteAddrPort(), netip.AddrPort{})
		if _, connected := open.Connected(); connected {
			t.Fatal("Connected does not know it")
		}
		again, err := open.Connect(t.at(c))
		t.ok(err)
		equal(t, "port", again.LocalAddrPort().Port(), local.Port())
	}},
	{"a Connect that fails leaves the socket as it was", func(t *trial) {
		w := t.witness()
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		before := c.LocalAddrPort()
		for _, bad := range []netip.AddrPort{{}, netip.AddrPortFrom(t.A.Addr, 0)} {
			if _, err := c.Connect(bad); err == nil {
				t.Fatalf("connected to %v", bad)
			}
		}
		equal(t, "local address", c.LocalAddrPort(), before)
		t.send(a, t.at(c), "still here")
		w.receives("still here")
	}},
	{"a Connect or Reconnect that the system refuses leaves the socket as it was", func(t *trial) {
		if !t.Broadcast.IsValid() {
			t.Skip("no broadcast here")
		}
		w1, w2, w := t.witness(), t.witness(), t.witness()
		c1, c2 := t.listen(w1), t.listen(w2)
		a := t.on(t.A, t.Network, "", w)
		before := a.LocalAddrPort()
		bad := netip.AddrPortFrom(t.Broadcast, t.at(c1).Port()) // Config.Broadcast is not set
		_, err := a.Connect(bad)
		t.is(err, syscall.EACCES)
		equal(t, "local address", a.LocalAddrPort(), before)
		if _, connected := a.Connected(); connected {
			t.Fatal("it is connected")
		}
		t.send(a, t.at(c1), "to anybody")
		from := w1.next("Received").d.From
		t.send(c2, from, "from anybody")
		w.receives("from anybody")

		cc, err := a.Connect(t.at(c1))
		t.ok(err)
		local := cc.LocalAddrPort()
		t.is(cc.Reconnect(bad), syscall.EACCES)
		equal(t, "local address", cc.LocalAddrPort(), local)
		equal(t, "peer", cc.RemoteAddrPort(), t.at(c1))
		t.ok(cc.Send([]byte("to the old peer")))
		w1.receives("to the old peer")
		t.send(c2, local, "another source's")
		t.send(c1, local, "the old peer's")
		w.receives("the old peer's")
	}},
}
