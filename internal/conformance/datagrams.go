package conformance

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/udpkit/udp"
)

var callbackPromises = []promise{
	{"callbacks come in order, one at a time, and Stopped is last", func(t *trial) {
		w := t.witness()
		c := t.listen(w)
		select {
		case e := <-w.events:
			equal(t, "the first callback", e.kind, "Started")
		default:
			t.Fatal("Listen returned before Started")
		}
		a := t.open(udp.BaseHandler{})
		t.send(a, t.at(c), numbered(100)...)
		w.receives(numbered(100)...)
		t.ok(c.Close())
		<-c.Done()
		select {
		case e := <-w.events:
			equal(t, "the last callback", e.kind, "Stopped")
			equal(t, "its error", e.err, nil)
		default:
			t.Fatal("done before Stopped")
		}
		t.ok(c.Close())
		t.is(c.SendTo(nil, t.at(a)), net.ErrClosed)
		t.is(c.SetWriteDeadline(time.Time{}), net.ErrClosed)
		_, err := c.Connect(t.at(a))
		t.is(err, net.ErrClosed)
	}},
	{"a panic costs one datagram and not the socket", func(t *trial) {
		w := t.witness()
		w.then = func(_ *udp.Conn, e event) {
			if e.text == "bad" {
				panic("a trial's")
			}
		}
		c := t.listen(w, func(cfg *udp.Config) { cfg.Logger = slog.New(slog.DiscardHandler) })
		a := t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "good", "bad", "better")
		w.receives("good", "bad", "better")
		s := t.rest(c, func(s udp.Stats) bool { return s.Received == 3 })
		equal(t, "panicked", s.Dropped.Panicked, 1)
		equal(t, "handled", s.Handled, 2)
	}},
}

var datagramPromises = []promise{
	{"empty datagrams are datagrams", func(t *trial) {
		w := t.witness()
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "", "x", "")
		n, err := a.SendBatch([]udp.Message{{To: t.at(c)}, {Data: []byte("y"), To: t.at(c)}, {Data: []byte{}, To: t.at(c)}})
		t.ok(err)
		equal(t, "sent", n, 3)
		w.receives("", "x", "", "", "y", "")
		equal(t, "sent", a.Stats().Sent, 6)
	}},
	{"the longest datagram arrives whole, and a longer one is not sent", func(t *trial) {
		longest := 65535 - 8
		if t.A.Addr.Is4() {
			longest -= 20
		}
		w := t.witness()
		c := t.listen(w, func(cfg *udp.Config) { cfg.ReadBuffer = 1 << 20 })
		a := t.open(udp.BaseHandler{}, func(cfg *udp.Config) { cfg.WriteBuffer = 1 << 20 })
		text := strings.Repeat("0123456789", 7000)[:longest]
		t.send(a, t.at(c), text)
		w.receives(text) // before the next one, which may overtake its fragments
		t.send(a, t.at(c), "short")
		w.receives("short")
		err := a.SendTo(make([]byte, longest+1), t.at(c))
		t.is(err, udp.ErrTooLarge)
		t.is(err, syscall.EMSGSIZE)
		equal(t, "too large", a.Stats().SendFailed.TooLarge, 1)
	}},
	{"a datagram over MaxDatagram is dropped whole, and counted", func(t *trial) {
		w := t.witness()
		c := t.listen(w, func(cfg *udp.Config) { cfg.MaxDatagram = 4 })
		a := t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "1234", "12345", "end")
		w.receives("1234", "end")
		equal(t, "truncated", t.rest(c, func(s udp.Stats) bool { return s.Received == 3 }).Dropped.Truncated, 1)
	}},
	{"a datagram that cannot be sent fails before any system call", func(t *trial) {
		a := t.open(udp.BaseHandler{})
		other := netip.MustParseAddrPort("[2001:db8::1]:9")
		if t.A.Addr.Is6() {
			other = netip.MustParseAddrPort("192.0.2.1:9")
		}
		t.is(a.SendTo(nil, other), udp.ErrFamily)
		if err := a.SendTo(nil, netip.AddrPort{}); err == nil {
			t.Fatal("a datagram to nowhere was sent")
		}
		if err := a.SendTo(nil, netip.AddrPortFrom(t.B.Addr, 0)); err == nil {
			t.Fatal("a datagram to port 0 was sent")
		}
		s := a.Stats()
		equal(t, "send errors", s.SendErrors, 3)
		equal(t, "sent", s.Sent, 0)
	}},
	{"a datagram has its source and its destination", func(t *trial) {
		w := t.witness()
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "x")
		d := w.next("Received").d
		equal(t, "from", d.From, a.LocalAddrPort())
		if c.Info().PacketInfo {
			equal(t, "to", d.To().Addr(), t.B.Addr)
			if d.IfIndex() == 0 {
				t.Fatal("the interface is not known")
			}
		}
	}},
	{"a reply leaves from the address that received the request", func(t *trial) {
		c := t.listen(udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if err := d.Reply(append([]byte("re: "), d.Data...)); err != nil {
				t.Error(err)
			}
		}))
		w := t.witness()
		cc := t.dial(c, w)
		t.ok(cc.Send([]byte("hello")))
		w.receives("re: hello")
		if !t.Second.IsValid() || !c.Info().PacketInfo {
			return
		}
		w2 := t.witness()
		cc, err := t.A.Config.Dial(context.Background(), t.Network, netip.AddrPortFrom(t.Second, c.LocalAddrPort().Port()).String(), w2)
		t.ok(err)
		defer cc.Close()
		t.ok(cc.Send([]byte("second")))
		w2.receives("re: second") // a connected socket receives from no other address
	}},
	{"retained and cloned datagrams stay as they were", func(t *trial) {
		kept := make(chan udp.Datagram, 2)
		c := t.listen(udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if len(kept) == 0 {
				d.Retain()
				kept <- d
				kept <- d.Clone()
			}
		}))
		a := t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "keep me")
		t.send(a, t.at(c), numbered(50)...)
		t.settle()
		t.rest(c, func(s udp.Stats) bool { return s.Received+uint64(max(0, s.KernelDrops)) == 51 })
		d, clone := <-kept, <-kept
		equal(t, "retained", string(d.Data), "keep me")
		d.Release()
		equal(t, "cloned", string(clone.Data), "keep me")
	}},
	{"a batch is sent in order, without the messages that cannot be sent", func(t *trial) {
		w := t.witness()
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		var ms []udp.Message
		for _, text := range numbered(200) {
			ms = append(ms, udp.Message{Data: []byte(text), To: t.at(c)})
		}
		n, err := a.SendBatch(ms)
		t.ok(err)
		equal(t, "sent", n, 200)
		w.receives(numbered(200)...)
		ms[2].Data = make([]byte, 70000)
		n, err = a.SendBatch(ms[:5])
		equal(t, "sent", n, 4)
		t.is(err, udp.ErrTooLarge)
		if failed := new(udp.BatchError); !errors.As(err, &failed) {
			t.Fatalf("%v is not a *BatchError", err)
		} else if len(failed.Failed) != 1 || failed.Failed[0].Index != 2 {
			t.Fatalf("%+v does not name message 2", failed)
		}
		w.receives("0", "1", "3", "4")
		n, err = a.SendBatch(nil)
		t.ok(err)
		equal(t, "sent of nothing", n, 0)
	}},
	{"ECN arrives as it was sent", func(t *trial) {
		w := t.witness()
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		if !c.Info().ECN || !a.Info().ECN {
			t.Skip("no ECN here")
		}
		for _, ecn := range []udp.ECN{udp.NotECT, udp.ECT1, udp.ECT0, udp.CE} {
			_, err := a.SendBatch([]udp.Message{{To: t.at(c), ECN: ecn}})
			t.ok(err)
			equal(t, "ECN", w.next("Received").d.ECN(), ecn)
		}
	}},
	{"a message's TTL and traffic class come before the socket's", func(t *trial) {
		w := t.witness()
		c := t.listen(w)
		a := t.open(udp.BaseHandler{}, func(cfg *udp.Config) { cfg.TTL, cfg.TrafficClass = 77, 0xb8 })
		for _, m := range []struct {
			message udp.Message
			ttl     int
			class   uint8
		}{
			{udp.Message{}, 77, 0xb8},
			{udp.Message{ECN: udp.ECT0}, 77, 0xb8 | 2},
			{udp.Message{TTL: 255}, 255, 0xb8},
			{udp.Message{TTL: 1, TrafficClass: 0x48}, 1, 0x48},
			{udp.Message{TrafficClass: 0x4b, ECN: udp.ECT1}, 77, 0x48 | 1},
		} {
			m.message.To = t.at(c)
			if _, err := a.SendBatch([]udp.Message{m.message}); unsupported(err) {
				continue
			} else {
				t.ok(err)
			}
			d := w.next("Received").d
			if d.TTL() != 0 {
				equal(t, "TTL", d.TTL(), m.ttl)
			}
			if d.TrafficClass() != 0 {
				equal(t, "traffic class", d.TrafficClass(), m.class)
			}
		}
		_, err := a.SendBatch([]udp.Message{{To: t.at(c), TTL: 256}})
		t.is(err, os.ErrInvalid)
	}},
	{"nothing is sent to an unspecified address", func(t *trial) {
		w := t.witness()
		c := t.listen(w)
		any := netip.IPv6Unspecified()
		if t.B.Addr.Is4() {
			any = netip.IPv4Unspecified()
		}
		to := netip.AddrPortFrom(any, c.LocalAddrPort().Port())
		if err := c.SendTo([]byte("x"), to); err == nil {
			t.Fatal("a datagram to an unspecified address was sent")
		}
		if n, err := c.SendBatch([]udp.Message{{Data: []byte("x"), To: to}}); err == nil || n != 0 {
			t.Fatal("a datagram to an unspecified address was sent")
		}
		equal(t, "sent", c.Stats().Sent, 0)
		equal(t, "send errors", c.Stats().SendErrors, 2)
		w.quiet()
	}},
	{"a port has one owner, unless both share it", func(t *trial) {
		c := t.listen(udp.BaseHandler{})
		address := c.LocalAddrPort().String()
		_, err := t.B.Config.Listen(context.Background(), t.Network, address, udp.BaseHandler{})
		t.is(err, syscall.EADDRINUSE)
		share := func(cfg *udp.Config) { cfg.ReuseAddr = true }
		first := t.listen(udp.BaseHandler{}, share)
		cfg := t.B.Config
		share(&cfg)
		second, err := cfg.Listen(context.Background(), t.Network, first.LocalAddrPort().String(), udp.BaseHandler{})
		t.ok(err)
		t.ok(second.Close())
	}},
	{"nothing is sent on an interface that does not exist", func(t *trial) {
		c, a := t.listen(udp.BaseHandler{}), t.open(udp.BaseHandler{})
		err := a.Enqueue(udp.Message{To: t.at(c), IfIndex: 1 << 20})
		if err == nil {
			t.Fatal("the datagram was sent")
		}
		equal(t, "sent", a.Stats().Sent, 0)
	}},
	{"broadcast needs to be allowed", func(t *trial) {
		if !t.Broadcast.IsValid() {
			t.Skip("no broadcast here")
		}
		w := t.witness()
		c := t.listen(w)
		to := netip.AddrPortFrom(t.Broadcast, c.LocalAddrPort().Port())
		t.is(t.on(t.A, t.Network, "", udp.BaseHandler{}).SendTo(nil, to), syscall.EACCES)
		a := t.on(t.A, t.Network, "", udp.BaseHandler{}, func(cfg *udp.Config) { cfg.Broadcast = true })
		t.send(a, to, "everybody")
		w.receives("everybody")
	}},
	{"a send fails after the write deadline, until the deadline is removed", func(t *trial) {
		w := t.witness()
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.ok(a.SetWriteDeadline(time.Now().Add(-time.Second)))
		t.is(a.SendTo(nil, t.at(c)), os.ErrDeadlineExceeded)
		equal(t, "failed by deadline", a.Stats().SendFailed.Deadline, 1)
		t.ok(a.SetWriteDeadline(time.Time{}))
		t.send(a, t.at(c), "later")
		w.receives("later")
	}},
	{"a send that waits for room ends at the write deadline", func(t *trial) {
		if t.Slow == nil {
			t.Skip("the network can't be slowed down")
		}
		t.Slow()
		c := t.listen(udp.BaseHandler{})
		a := t.open(udp.BaseHandler{}, func(cfg *udp.Config) { cfg.WriteBuffer = 4000 })
		deadline := time.Now().Add(time.Second)
		t.ok(a.SetWriteDeadline(deadline))
		sent := uint64(0)
		err := error(nil)
		for err == nil {
			if err = a.SendTo(make([]byte, 1000), t.at(c)); err == nil {
				sent++
			}
		}
		t.is(err, os.ErrDeadlineExceeded)
		if time.Now().Before(deadline) {
			t.Fatal("it did not wait")
		}
		s := a.Stats()
		equal(t, "failed by deadline", s.SendFailed.Deadline, 1)
		equal(t, "sent", s.Sent, sent)
	}},
	{"sent is received plus dropped by the kernel", func(t *trial) {
		w := t.witness()
		w.gate = make(chan struct{})
		c := t.listen(w, func(cfg *udp.Config) { cfg.ReadBuffer = 16 << 10 })
		a := t.open(udp.BaseHandler{})
		const count = 2000
		for range count {
			t.ok(a.SendTo(make([]byte, 100), t.at(c)))
		}
		t.settle()
		close(w.gate)
		s := t.rest(c, func(s udp.Stats) bool { return s.KernelDrops < 0 || s.Received+uint64(s.KernelDrops) == count })
		if s.KernelDrops < 0 {
			t.Skip("the system does not count what it drops")
		}
		if s.KernelDrops == 0 {
			t.Fatal("nothing was dropped, so this checks nothing")
		}
		equal(t, "sent", a.Stats().Sent, count)
		equal(t, "sent bytes", a.Stats().SentBytes, 100*count)
		equal(t, "received bytes", s.ReceivedBytes, 100*s.Received)
	}},
}

func unsupported(err error) bool { return errors.Is(err, errors.ErrUnsupported) }
