package conformance

import (
	"context"
	"net/netip"
)

var familyPromises = []promise{
	{"a socket of both families sends and receives datagrams of both", func(t *trial) {
		if t.Network != "udp" || !t.IPv6.IsValid() {
			t.Skip("one family here")
		}
		w := t.witness()
		c := t.listen(w)
		if !c.LocalAddrPort().Addr().Is6() {
			t.Skip("one family here")
		}
		port := c.LocalAddrPort().Port()
		for _, to := range []netip.Addr{t.IPv6, t.B.Addr} {
			answers := t.witness()
			cc, err := t.A.Config.Dial(context.Background(), "udp", netip.AddrPortFrom(to, port).String(), answers)
			t.ok(err)
			defer cc.Close()
			t.ok(cc.Send([]byte("hello")))
			d := w.next("Received").d
			equal(t, "from", d.From, cc.LocalAddrPort())
			if c.Info().PacketInfo {
				equal(t, "to", d.To().Addr(), to)
			}
			t.send(c, d.From, "and back")
			answers.receives("and back")
		}
	}},
	{"an address resolves in its own network only", func(t *trial) {
		ctx := context.Background()
		want := netip.AddrPortFrom(t.B.Addr, 7)
		got, err := t.A.Config.Resolve(ctx, t.Network, want.String())
		t.ok(err)
		equal(t, "addresses", len(got), 1)
		equal(t, "address", got[0], want)
		r := <-t.A.Config.ResolveAsync(ctx, t.Network, want.String())
		t.ok(r.Err)
		equal(t, "address", r.Addrs[0], want)
		other := "udp6"
		if want.Addr().Is6() {
			other = "udp4"
		}
		if got, err := t.A.Config.Resolve(ctx, other, want.String()); err == nil {
			t.Fatalf("%v was resolved to %v for %s", want, got, other)
		}
		if r := <-t.A.Config.ResolveAsync(ctx, t.Network, "no port"); r.Err == nil {
			t.Fatalf("resolved to %v without a port", r.Addrs)
		}
		done, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := t.A.Config.Resolve(done, t.Network, "localhost:7"); err == nil {
			t.Fatal("resolved in no time")
		}
	}},
}
