package udptest

import (
	"context"
	"errors"
	"net/netip"

	"github.com/udpkit/udp"
)

var connectedPromises = []promise{
	{"a refusal reaches the handler, and is charged to no other datagram", func(t *trial) {
		to := t.closedPort()
		w := t.witness()
		cc, err := t.A.Config.Dial(context.Background(), t.Network, to.String(), w)
		t.ok(err)
		defer cc.Close()
		for range 3 {
			t.ok(cc.Send([]byte("anybody?")))
			t.settle()
			r := w.next("Refused").refusal
			equal(t, "peer", r.Peer, to)
			if !errors.Is(r, udp.ErrRefused) {
				t.Fatalf("%v is not ErrRefused", r)
			}
			if cc.Info().ErrorQueue { // elsewhere systems differ in what they call it
				if !errors.Is(r, eCONNREFUSED) {
					t.Fatalf("%v is not ECONNREFUSED", r)
				}
				equal(t, "offender", r.Offender, t.B.Addr)
				want := [2]uint8{3, 3}
				if to.Addr().Is6() {
					want = [2]uint8{1, 4}
				}
				equal(t, "type and code", [2]uint8{r.Type, r.Code}, want)
				equal(t, "payload", string(r.Payload), "anybody?")
			}
		}
		s := cc.Stats()
		equal(t, "sent", s.Sent, 3)
		equal(t, "send errors", s.SendErrors, 0)
		equal(t, "refused", s.Refused, 3)
	}},
	{"an unconnected socket hears of refusals when it asks for them", func(t *trial) {
		w := t.witness()
		a := t.open(w, func(cfg *udp.Config) { cfg.PeerErrors = true })
		to := t.closedPort()
		t.send(a, to, "anybody?")
		r := w.next("Refused").refusal
		equal(t, "peer", r.Peer, to)
		equal(t, "payload", string(r.Payload), "anybody?")
	}},
	{"an unconnected socket is not harmed by refusals", func(t *trial) {
		w, deaf := t.witness(), t.witness()
		a := t.open(deaf)
		t.send(a, t.closedPort(), "one")
		t.settle()
		c := t.listen(w)
		t.send(a, t.at(c), "two")
		w.receives("two")
		deaf.quiet()
	}},
	{"Connect keeps the port and the handler, and drops strangers that wait", func(t *trial) {
		w := t.witness()
		w.gate = make(chan struct{})
		c := t.listen(w)
		peer, stranger := t.open(udp.BaseHandler{}), t.open(udp.BaseHandler{})
		t.send(peer, t.at(c), "first")
		w.receives("first")
		t.send(stranger, t.at(c), "a", "b")
		t.send(peer, t.at(c), "second")
		t.send(stranger, t.at(c), "c")
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
		t.send(stranger, t.at(c), "later")
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
		t.is(cc.SendTo(nil, netip.AddrPortFrom(t.B.Addr, 9)), eISCONN)
		_, err := cc.Connect(t.at(c))
		t.is(err, eISCONN)
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
	{"Disconnect opens the socket to everybody again", func(t *trial) {
		w := t.witness()
		c := t.listen(udp.BaseHandler{})
		cc := t.dial(c, w)
		local := cc.LocalAddrPort()
		open, err := cc.Disconnect()
		t.ok(err)
		equal(t, "port", open.LocalAddrPort().Port(), local.Port())
		equal(t, "unspecified", open.LocalAddrPort().Addr().IsUnspecified(), true)
		stranger := t.on(t.B, t.Network, t.B.Addr.String(), udp.BaseHandler{})
		t.send(stranger, local, "hello")
		w.receives("hello")
		t.is(cc.Send(nil), eNOTCONN)
		_, err = cc.Disconnect()
		t.is(err, eNOTCONN)
		t.is(cc.Reconnect(t.at(c)), eNOTCONN)
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
}
