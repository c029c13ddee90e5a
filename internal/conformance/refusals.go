package conformance

import (
	"context"
	"errors"
	"syscall"

	"github.com/udpkit/udp"
)

var refusalPromises = []promise{
	{"an ICMP error reaches the handler, and fails no other send", func(t *trial) {
		to := t.closedPort()
		w := t.witness()
		cc := t.dialTo(to, w)
		for range 3 {
			t.ok(cc.Send([]byte("anybody?")))
			t.settle()
			r := w.next("Refused").refusal
			equal(t, "peer", r.Peer, to)
			if !errors.Is(r, udp.ErrRefused) {
				t.Fatalf("%v is not ErrRefused", r)
			}
			if cc.Info().ErrorQueue { // other systems differ in the error
				if !errors.Is(r, syscall.ECONNREFUSED) {
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
	{"an unconnected socket reports ICMP errors with PeerErrors", func(t *trial) {
		w := t.witness()
		a := t.open(w, func(cfg *udp.Config) { cfg.PeerErrors = true })
		to := t.closedPort()
		t.send(a, to, "anybody?")
		r := w.next("Refused").refusal
		equal(t, "peer", r.Peer, to)
		equal(t, "payload", string(r.Payload), "anybody?")
	}},
	{"ICMP errors do not affect an unconnected socket", func(t *trial) {
		w, deaf := t.witness(), t.witness()
		a := t.open(deaf)
		t.send(a, t.closedPort(), "one")
		t.settle()
		c := t.listen(w)
		t.send(a, t.at(c), "two")
		w.receives("two")
		deaf.quiet()
	}},
	{"a pending ICMP error fails no later send", func(t *trial) {
		w := t.witness()
		to := t.closedPort()
		w.then = func(c *udp.Conn, e event) {
			if e.kind != "Started" {
				return
			}
			// Nothing reads yet, so the ICMP error is pending at the next send.
			cc, _ := c.Connected()
			for _, text := range []string{"one", "two", "three"} {
				if err := cc.Send([]byte(text)); err != nil {
					t.Error(err)
				}
				t.settle()
			}
		}
		cc, err := t.A.Config.Dial(context.Background(), t.Network, to.String(), w)
		t.ok(err)
		t.Cleanup(func() { cc.Close() })
		s := cc.Stats()
		equal(t, "sent", s.Sent, 3)
		equal(t, "send errors", s.SendErrors, 0)
		equal(t, "peer", w.next("Refused").refusal.Peer, to)
	}},
}
