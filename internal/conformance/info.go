package conformance

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp"
)

// hosts returns the addresses that datagrams can be sent to: of both families if the
// network has both.
func (t *trial) hosts() []netip.Addr {
	if t.Network == "udp" && t.IPv6.IsValid() {
		return []netip.Addr{t.B.Addr, t.IPv6}
	}
	return []netip.Addr{t.B.Addr}
}

// speaker opens a socket of the family of an address of B.
func (t *trial) speaker(to netip.Addr, h udp.Handler) *udp.Conn {
	t.Helper()
	if to == t.IPv6 {
		return t.on(t.B, "udp6", to.String(), h)
	}
	return t.open(h)
}

// infoPromises: what Info says of a socket is what can be observed of it, wherever it is.
var infoPromises = []promise{
	{"Info says whether replies leave from the address that was asked", func(t *trial) {
		w := t.witness()
		w.then = func(_ *udp.Conn, e event) {
			if e.kind != "Received" {
				return
			}
			if err := e.d.Reply([]byte("reply")); err != nil {
				t.Error(err)
			}
		}
		c := t.listen(w)
		hosts := t.hosts()
		if t.Second.IsValid() {
			hosts = append(hosts, t.Second)
		}
		works := true
		for _, to := range hosts {
			replies := t.witness()
			t.send(t.speaker(to, replies), netip.AddrPortFrom(to, c.LocalAddrPort().Port()), "request")
			request, reply := w.next("Received").d, replies.next("Received").d
			works = works && request.To().Addr() == to && request.IfIndex() != 0 && reply.From.Addr() == to
		}
		// With one address, replies leave from it in any case.
		if c.Info().PacketInfo || t.Second.IsValid() {
			equal(t, "PacketInfo", c.Info().PacketInfo, works)
		}
	}},
	{"Info says whether ECN is sent and received", func(t *trial) {
		w := t.witness()
		c := t.listen(w)
		works := true
		for _, to := range t.hosts() {
			a := t.speaker(to, udp.BaseHandler{})
			_, err := a.SendBatch([]udp.Message{{To: netip.AddrPortFrom(to, c.LocalAddrPort().Port()), ECN: udp.CE}})
			if works = works && !unsupported(err); !works {
				break
			}
			t.ok(err)
			works = w.next("Received").d.ECN() == udp.CE
		}
		equal(t, "ECN", c.Info().ECN, works)
	}},
	{"Info says whether an ICMP error has all its fields", func(t *trial) {
		for _, host := range t.hosts() {
			to := netip.AddrPortFrom(host, t.closedPort().Port())
			w := t.witness()
			cc := t.dialTo(to, w)
			t.ok(cc.Send([]byte("anybody?")))
			r := w.next("Refused").refusal
			works := r.Offender == host && r.Type != 0 && string(r.Payload) == "anybody?"
			equal(t, "ErrorQueue", cc.Info().ErrorQueue, works)
		}
	}},
	{"Info says whether datagrams have the time of their arrival", func(t *trial) {
		w := t.witness()
		c := t.listen(w, func(cfg *udp.Config) { cfg.Timestamps = true })
		for _, to := range t.hosts() {
			t.send(t.speaker(to, udp.BaseHandler{}), netip.AddrPortFrom(to, c.LocalAddrPort().Port()), "now")
			equal(t, "Timestamps", c.Info().Timestamps, !w.next("Received").d.Time().IsZero())
		}
	}},
	{"Info says how many datagrams may come in one read", func(t *trial) {
		const rounds, burst = 3, 200 // UDP_GRO may be switched on after the first round
		var received atomic.Int64
		open := [rounds]chan struct{}{}
		done := [rounds]chan struct{}{}
		for i := range rounds {
			open[i], done[i] = make(chan struct{}), make(chan struct{})
		}
		c := t.listen(udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
			n := int(received.Add(1)) - 1
			<-open[n/burst]
			if n%burst == burst-1 {
				close(done[n/burst])
			}
		}), func(cfg *udp.Config) { cfg.ReadBuffer = 1 << 20 })
		a := t.open(udp.BaseHandler{})
		ms := make([]udp.Message, burst)
		for i := range ms {
			ms[i] = udp.Message{Data: make([]byte, 20), To: t.at(c)}
		}
		for i := range rounds {
			_, err := a.SendBatch(ms)
			t.ok(err)
			t.settle()
			close(open[i])
			select {
			case <-done[i]:
			case <-time.After(patience):
				t.Fatalf("%v after %d datagrams of %d: %+v", patience, received.Load(), (i+1)*burst, c.Stats())
			}
		}
		info, largest := c.Info(), int(c.Stats().LargestRead)
		if info.Batch > 1 || !info.GRO || t.Coalesces { // or else nothing has come together
			equal(t, "several in one read", largest > 1, info.Batch > 1 || info.GRO)
		}
		switch coalesced := largest > info.Batch; {
		case t.Coalesces && a.Info().GSO && info.GRO != coalesced, coalesced && !info.GRO:
			t.Fatalf("GRO is %v, and one read has brought %d datagrams in %d messages at the most", info.GRO, largest, info.Batch)
		}
	}},
	{"Info says whether the kernel keeps away groups that others have joined", func(t *trial) {
		deaf, w := t.witness(), t.witness()
		c := t.join(deaf, 0)
		other := t.join(w, c.LocalAddrPort().Port(), t.Group)
		t.send(t.sender().Conn, netip.AddrPortFrom(t.Group, other.LocalAddrPort().Port()), "for the other")
		w.receives("for the other")
		t.settle()
		s := t.rest(c.Conn, func(udp.Stats) bool { return true })
		if c.Info().MulticastFilter {
			equal(t, "received", s.Received, 0)
		}
		equal(t, "handled", s.Handled, 0)
		deaf.quiet()
	}},
	{"Info says whether the port is kept while the peer changes", func(t *trial) {
		w := t.witness()
		one, two := t.listen(udp.BaseHandler{}), t.listen(udp.BaseHandler{})
		cc := t.dial(one, w)
		port, taken := cc.LocalAddrPort().Port(), false
		for range 20 {
			t.ok(cc.Reconnect(t.at(two)))
			taken = taken || cc.LocalAddrPort().Port() != port
			t.ok(cc.Reconnect(t.at(one)))
		}
		if cc.Info().PortKept {
			equal(t, "another port", taken, false)
		}
		// Nobody else can have it in between.
		_, err := t.A.Config.Listen(context.Background(), t.Network, cc.LocalAddrPort().String(), udp.BaseHandler{})
		if err == nil {
			t.Fatal("another socket has the port")
		}
	}},
}
