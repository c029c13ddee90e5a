package udptest_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

var group = netip.MustParseAddr("239.1.2.3")

// texts takes what lies in a Queue now.
func texts(q *udp.Queue) (ts []string) {
	for {
		select {
		case d := <-q.Datagrams():
			ts = append(ts, string(d.Data))
			d.Release()
		default:
			return ts
		}
	}
}

// settle lets everything arrive that is on its way.
func settle() {
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

func TestMulticastReachesMembersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t})
		sender := n.Host("sender", "10.0.0.1", "fd00::1")
		var queues []*udp.Queue
		for i, g := range []netip.Addr{group, group, netip.MustParseAddr("239.9.9.9"), netip.MustParseAddr("ff02::fb")} {
			h := n.Host(fmt.Sprint("h", i), fmt.Sprintf("10.0.0.1%d", i), fmt.Sprintf("fd00::1%d", i))
			q := udp.NewQueue(10, udp.Block)
			m, err := on(h).ListenMulticast(ctx, "udp", ":9", q, g)
			require.NoError(t, err)
			defer m.Close()
			queues = append(queues, q)
		}
		c := listen(t, on(sender), "udp", ":0", udp.BaseHandler{})
		require.NoError(t, c.SendTo([]byte("one"), netip.AddrPortFrom(group, 9)))
		require.NoError(t, c.SendTo([]byte("six"), netip.MustParseAddrPort("[ff02::fb]:9")))
		settle()
		d := <-queues[0].Datagrams()
		require.Equal(t, "one", string(d.Data))
		require.Equal(t, group, d.To)
		require.Equal(t, 2, d.IfIndex)
		require.Equal(t, "10.0.0.1", d.From.Addr().String())
		require.Equal(t, []string{"one"}, texts(queues[1]))
		require.Empty(t, texts(queues[2]))
		require.Equal(t, []string{"six"}, texts(queues[3]))
	})
}

func TestMulticastSourcesLoopbackAndTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		here, there := udp.NewQueue(10, udp.Block), udp.NewQueue(10, udp.Block)
		m, err := on(a).ListenMulticast(ctx, "udp4", ":9", here, group)
		require.NoError(t, err)
		defer m.Close()
		m2, err := on(b).ListenMulticast(ctx, "udp4", ":9", there)
		require.NoError(t, err)
		defer m2.Close()
		require.NoError(t, m2.JoinSource(group, netip.MustParseAddr("10.0.0.1")))
		send := func(c *udp.Conn, text string) {
			require.NoError(t, c.SendTo([]byte(text), netip.AddrPortFrom(group, 9)))
			settle()
		}
		send(m.Conn, "from a")
		require.Equal(t, []string{"from a"}, texts(here), "it loops back")
		require.Equal(t, []string{"from a"}, texts(there))
		send(m2.Conn, "from b")
		require.Equal(t, []string{"from b"}, texts(here))
		require.Empty(t, texts(there), "not its source")
		require.Equal(t, uint64(1), m2.Stats().Received, "and it did not even reach the socket")
		require.NoError(t, m.SetLoopback(false))
		send(m.Conn, "quiet")
		require.Empty(t, texts(here))
		require.Equal(t, []string{"quiet"}, texts(there))
		require.NoError(t, m.SetLoopback(true))
		require.NoError(t, m.SetTTL(0))
		send(m.Conn, "inside")
		require.Equal(t, []string{"inside"}, texts(here), "TTL 0 stays on the host")
		require.Empty(t, texts(there))
		require.NoError(t, m2.LeaveSource(group, netip.MustParseAddr("10.0.0.1")))
		require.NoError(t, m.SetTTL(1))
		send(m.Conn, "gone")
		require.Empty(t, texts(there))
		require.ErrorIs(t, m2.Leave(group), syscall.EADDRNOTAVAIL)
	})
}

func TestMulticastIsForwardedByRoutersThatDoIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t})
		left, right := n.Segment("left"), n.Segment("right")
		r := n.Router("r")
		r.Attach(left, "eth0", "10.1.0.254/24")
		r.Attach(right, "eth1", "10.2.0.254/24")
		a, b := left.Host("a", "10.1.0.1/24"), right.Host("b", "10.2.0.1/24")
		q := udp.NewQueue(10, udp.Block)
		m, err := on(b).ListenMulticast(ctx, "udp4", ":9", q, group, netip.MustParseAddr("224.0.0.251"))
		require.NoError(t, err)
		defer m.Close()
		s, err := on(a).ListenMulticast(ctx, "udp4", ":0", udp.BaseHandler{})
		require.NoError(t, err)
		defer s.Close()
		send := func(ttl int, g netip.Addr) []string {
			require.NoError(t, s.SetTTL(ttl))
			require.NoError(t, s.SendTo([]byte("hello"), netip.AddrPortFrom(g, 9)))
			settle()
			return texts(q)
		}
		require.Empty(t, send(2, group), "routers don't by themselves")
		r.ForwardMulticast()
		require.Empty(t, send(1, group))
		require.Equal(t, []string{"hello"}, send(2, group))
		require.Empty(t, send(9, netip.MustParseAddr("224.0.0.251")), "a group of the link")
	})
}

func TestInterfacesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t})
		a, b := n.Host("a", "10.0.0.1/24"), n.Host("b", "10.0.0.2/24")
		q := udp.NewQueue(10, udp.Block)
		m, err := on(b).ListenMulticast(ctx, "udp4", ":9", q, group)
		require.NoError(t, err)
		defer m.Close()
		c := listen(t, on(a), "udp4", ":0", udp.BaseHandler{})
		send := func() []string {
			time.Sleep(time.Minute) // for what watches the interfaces
			require.NoError(t, c.SendTo([]byte("hello"), netip.AddrPortFrom(group, 9)))
			time.Sleep(time.Minute)
			synctest.Wait()
			return texts(q)
		}
		require.Equal(t, []string{"hello"}, send())
		eth0 := b.Interface("eth0")
		eth0.SetDown(true)
		require.Empty(t, send())
		_, err = on(b).Dial(ctx, "udp", "10.0.0.1:9", q)
		require.ErrorIs(t, err, syscall.ENETUNREACH, "no route by an interface that is down")
		eth0.SetDown(false)
		require.Equal(t, []string{"hello"}, send())

		eth0.RemoveAddr("10.0.0.2")
		_, err = on(b).Dial(ctx, "udp", "10.0.0.1:9", q)
		require.ErrorIs(t, err, syscall.ENETUNREACH, "no route without an address")
		_, err = on(b).Listen(ctx, "udp4", "10.0.0.2:10", q)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
		require.Empty(t, send(), "no address of the group's family")
		eth0.AddAddr("10.0.0.3/24")
		require.Equal(t, []string{"hello"}, send())
		eth0.Rename("lan0")
		require.Equal(t, []string{"hello"}, send())
		require.Equal(t, "lan0", m.Memberships()[0].On[0].Name)
		as, err := udp.Config{Network: a.Network()}.Resolve(ctx, "udp", "b:9")
		require.NoError(t, err)
		require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("10.0.0.3:9")}, as)
		eth0.Remove()
		require.Empty(t, send())
		ifs, err := b.Network().Interfaces()
		require.NoError(t, err)
		require.Len(t, ifs, 1)
	})
}

func TestMembershipsGoWithTheirInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t})
		b := n.Host("b", "10.0.0.2/24")
		wifi := b.Attach(n.Segment("wifi"), "wlan0", "10.9.0.2/24")
		q := udp.NewQueue(10, udp.Block)
		m, err := on(b).ListenMulticast(ctx, "udp4", ":9", q)
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, m.Join(group, wifi.Interface()))
		require.NoError(t, m.SetInterface(wifi.Interface()))

		// The next one gets the index of the one that is gone, and nothing else of it.
		index := wifi.Interface().Index
		wifi.Remove()
		require.ErrorIs(t, m.SendTo(nil, netip.AddrPortFrom(group, 9)), syscall.ENODEV)
		cable := n.Segment("cable")
		require.Equal(t, index, b.Attach(cable, "eth1", "10.8.0.2/24").Interface().Index)
		c := listen(t, on(cable.Host("c", "10.8.0.1/24")), "udp4", ":0", udp.BaseHandler{})
		require.NoError(t, c.SendTo([]byte("to another group of people"), netip.AddrPortFrom(group, 9)))
		settle()
		require.Empty(t, texts(q))
	})
}

func TestBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t})
		a, b, c := n.Host("a", "10.0.0.1/24"), n.Host("b", "10.0.0.2/24"), n.Host("c", "10.0.0.3/24")
		qs := make(map[string]*udp.Queue)
		for _, h := range []*udptest.Host{a, b, c} {
			qs[h.Name()] = udp.NewQueue(10, udp.Block)
			listen(t, on(h), "udp4", ":9", qs[h.Name()])
		}
		specific := udp.NewQueue(10, udp.Block)
		cfg := on(b)
		cfg.ReuseAddr = true
		listen(t, on(b), "udp4", "10.0.0.2:10", specific)
		cfg = on(a)
		cfg.Broadcast = true
		s := listen(t, cfg, "udp4", ":0", udp.BaseHandler{})
		for _, to := range []string{"255.255.255.255:9", "10.0.0.255:9", "10.0.0.255:10"} {
			require.NoError(t, s.SendTo([]byte(to), netip.MustParseAddrPort(to)))
		}
		settle()
		for _, q := range qs {
			require.Equal(t, []string{"255.255.255.255:9", "10.0.0.255:9"}, texts(q), "the sender's host too")
		}
		require.Empty(t, texts(specific), "bound to one address")
	})
}

// routed is a host on each side of a router.
func routed(t *testing.T) (n *udptest.Net, a, r, b *udptest.Host) {
	n = udptest.NewNet(udptest.Config{T: t})
	left, right := n.Segment("left"), n.Segment("right")
	r = n.Router("r")
	r.Attach(left, "eth0", "10.1.0.254/24", "fd01::ff/64")
	r.Attach(right, "eth1", "10.2.0.254/24", "fd02::ff/64")
	a, b = left.Host("a", "10.1.0.1/24", "fd01::1/64"), right.Host("b", "10.2.0.1/24", "fd02::1/64")
	a.Gateway("10.1.0.254")
	a.Gateway("fd01::ff")
	b.Gateway("10.2.0.254")
	b.Gateway("fd02::ff")
	return n, a, r, b
}

func TestRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, r, b := routed(t)
		ttl := 0
		b.Filter(func(p udptest.Packet) udptest.Verdict { ttl = p.TTL; return udptest.Accept })
		listen(t, on(b), "udp", ":7", echo)
		for _, to := range []string{"10.2.0.1:7", "[fd02::1]:7"} {
			q := udp.NewQueue(10, udp.Block)
			c := dial(t, on(a), "udp", to, q)
			require.NoError(t, c.Send([]byte("far")))
			settle()
			require.Equal(t, []string{"far"}, texts(q))
			require.Equal(t, 63, ttl)
		}
		for to, want := range map[string]udp.Refusal{
			"10.3.0.1:7":  {Offender: netip.MustParseAddr("10.1.0.254"), Type: 3, Code: 0, Err: syscall.ENETUNREACH},
			"[fd03::1]:7": {Offender: netip.MustParseAddr("fd01::ff"), Type: 1, Code: 0, Err: syscall.ENETUNREACH},
			"10.2.0.9:7":  {Offender: netip.MustParseAddr("10.1.0.254"), Type: 3, Code: 1, Err: syscall.EHOSTUNREACH},
			"10.2.0.1:99": {Offender: netip.MustParseAddr("10.1.0.254"), Type: 3, Code: 13, Err: syscall.EHOSTUNREACH},
		} {
			r.Filter(func(p udptest.Packet) udptest.Verdict {
				if p.To.Port() == 99 {
					return udptest.Prohibit
				}
				return udptest.Accept
			})
			q := udp.NewQueue(10, udp.Block)
			c := dial(t, on(a), "udp", to, q)
			require.NoError(t, c.Send([]byte{}))
			got := <-q.Refusals()
			want.Peer, want.Payload = c.RemoteAddrPort(), got.Payload
			require.Empty(t, got.Payload)
			require.Equal(t, &want, got)
		}
	})
}

func TestTTLRunsOutInALoopOfRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t})
		lan, loop := n.Segment("lan"), n.Segment("loop")
		r, s := n.Router("r"), n.Router("s")
		r.Attach(lan, "eth0", "10.1.0.254/24")
		out := r.Attach(loop, "eth1", "10.9.0.1/24")
		s.Attach(loop, "eth0", "10.9.0.2/24")
		r.Gateway("10.9.0.2")
		s.Gateway("10.9.0.1")
		a := lan.Host("a", "10.1.0.1/24")
		a.Gateway("10.1.0.254")
		q := udp.NewQueue(10, udp.Block)
		require.NoError(t, dial(t, on(a), "udp", "8.8.8.8:53", q).Send(nil))
		f := <-q.Refusals()
		require.Equal(t, []uint8{11, 0}, []uint8{f.Type, f.Code})
		require.ErrorIs(t, f, syscall.EHOSTUNREACH)
		require.Equal(t, uint64(32), out.Out().Stats().Entered)
	})
}

func TestInjectedErrorsMeetTheNthCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		q := udp.NewQueue(10, udp.Block)
		server := listen(t, on(b), "udp", ":7", q)
		c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		b.FailRead(7, 2, syscall.ENOMEM)
		b.FailRead(8, 1, syscall.ENOMEM) // another port's
		a.FailSend(0, 3, syscall.EIO)
		for i := range 4 {
			err := c.Send(fmt.Append(nil, i))
			if i == 2 {
				require.ErrorIs(t, err, syscall.EIO)
			} else {
				require.NoError(t, err)
			}
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		require.Equal(t, []string{"0", "1", "3"}, texts(q), "a failed read loses nothing")
		require.Equal(t, uint64(1), server.Stats().ReadErrors)
		require.Equal(t, uint64(1), c.Stats().SendErrors)
		require.Equal(t, uint64(3), c.Stats().Sent)
	})
}

func TestSendsWaitForRoomUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(udptest.Config{T: t})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		q := udp.NewQueue(100, udp.Block)
		listen(t, on(b), "udp", ":7", q)
		cfg := on(a)
		cfg.WriteBuffer = 4000 // 8000 with what the kernel takes for itself
		c := dial(t, cfg, "udp", "b:7", udp.BaseHandler{})
		a.Out().Set(udptest.Faults{Rate: 8000}) // 1000 bytes a second
		began := time.Now()
		for range 10 {
			require.NoError(t, c.Send(make([]byte, 972)))
		}
		require.Equal(t, 5*time.Second, time.Since(began), "five found room at once")
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Millisecond)))
		require.ErrorIs(t, c.Send(make([]byte, 972)), os.ErrDeadlineExceeded)
		require.Equal(t, 5001*time.Millisecond, time.Since(began))
		require.NoError(t, c.SetWriteDeadline(time.Time{}))
		done := make(chan error)
		go func() { done <- c.Send(make([]byte, 972)) }()
		synctest.Wait()
		require.NoError(t, c.Close(), "which ends the wait")
		require.ErrorContains(t, <-done, "closed")
		require.Equal(t, 5001*time.Millisecond, time.Since(began))
	})
}

func TestBuildingWronglyFailsAtOnce(t *testing.T) {
	for name, build := range map[string]func(n *udptest.Net, a *udptest.Host){
		`udptest: b: 10.0.0.1 is an address of a already`: func(n *udptest.Net, _ *udptest.Host) { n.Host("b", "10.0.0.1/8") },
		`udptest: there is a host or a name "a" already`:  func(n *udptest.Net, _ *udptest.Host) { n.Host("a", "10.0.0.2") },
		`udptest: b: "10.0.0" is neither an address nor one with a prefix length`: func(n *udptest.Net, _ *udptest.Host) {
			n.Host("b", "10.0.0")
		},
		`udptest: b: 224.0.0.1 can't be the address of an interface`: func(n *udptest.Net, _ *udptest.Host) { n.Host("b", "224.0.0.1") },
		`udptest: "b c" can't be a host's name`:                      func(n *udptest.Net, _ *udptest.Host) { n.Host("b c", "10.0.0.2") },
		`udptest: a has no interface "eth7"`:                         func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth7") },
		`udptest: a has an interface eth0 already`: func(n *udptest.Net, a *udptest.Host) {
			a.Attach(n.Segment("x"), "eth0", "10.0.0.9")
		},
		`udptest: a has an interface lo already`:     func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth0").Rename("lo") },
		`udptest: a has no address 10.0.0.2 on eth0`: func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth0").RemoveAddr("10.0.0.2") },
		`udptest: a has the address fd00::2 already`: func(n *udptest.Net, a *udptest.Host) {
			a.Attach(n.Segment("x"), "eth1", "fd00::2").Rename("eth2")
			a.Interface("eth0").AddAddr("fd00::2")
		},
		`udptest: a: the loopback interface stays as it is`:                      func(_ *udptest.Net, a *udptest.Host) { a.Interface("lo").AddAddr("10.0.0.2") },
		`udptest: a: eth0 was removed already`:                                   func(_ *udptest.Net, a *udptest.Host) { i := a.Interface("eth0"); i.Remove(); i.Rename("eth1") },
		`udptest: there is a segment "lan" already`:                              func(n *udptest.Net, _ *udptest.Host) { n.Segment("lan") },
		`udptest: a can't reach its gateway fd00::1: it is on none of its links`: func(_ *udptest.Net, a *udptest.Host) { a.Gateway("fd00::1") },
		`udptest: a partition needs hosts of this network`: func(n *udptest.Net, _ *udptest.Host) {
			n.Partition([]*udptest.Host{udptest.NewNet(udptest.Config{}).Host("z", "10.0.0.1")})
		},
		`udptest: a is in two groups of the partition`: func(n *udptest.Net, a *udptest.Host) {
			n.Partition([]*udptest.Host{a}, []*udptest.Host{a})
		},
		`udptest: a and b share no segment`: func(n *udptest.Net, a *udptest.Host) {
			n.Path(a, n.Segment("far").Host("b", "10.0.0.2"))
		},
		`udptest: a is no router`:              func(_ *udptest.Net, a *udptest.Host) { a.ForwardMulticast() },
		`udptest: a: no call has the number 0`: func(_ *udptest.Net, a *udptest.Host) { a.FailRead(1, 0, syscall.EIO) },
		`udptest: a: an injected error is nil`: func(_ *udptest.Net, a *udptest.Host) { a.FailSend(1, 1, nil) },
		`udptest: the outside of a NAT is an interface`: func(n *udptest.Net, a *udptest.Host) {
			n.Router("r").NAT(a.Interface("eth0"), udptest.NATConfig{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := udptest.NewNet(udptest.Config{})
			a := n.Host("a", "10.0.0.1/8")
			defer func() {
				err, ok := recover().(error)
				require.True(t, ok)
				require.Contains(t, strings.Replace(err.Error(), "r: ", "", 1), name)
			}()
			build(n, a)
		})
	}
}

func TestNamesResolve(t *testing.T) {
	n := udptest.NewNet(udptest.Config{T: t})
	a := n.Host("a", "10.0.0.1", "fd00::1")
	n.Name("www.example.net", "10.0.0.1", "10.0.0.2")
	for address, want := range map[string]string{
		"a:1": "[10.0.0.1:1 [fd00::1]:1]", "WWW.example.net.:1": "[10.0.0.1:1 10.0.0.2:1]",
		"localhost:1": "[127.0.0.1:1 [::1]:1]", "10.9.9.9:1": "[10.9.9.9:1]",
	} {
		got, err := on(a).Resolve(ctx, "udp", address)
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprint(got))
	}
	_, err := on(a).Resolve(ctx, "udp6", "www.example.net:1")
	require.ErrorContains(t, err, "no suitable address")
	got := <-on(a).ResolveAsync(ctx, "udp4", "a:1")
	require.Equal(t, "10.0.0.1:1", got.Addrs[0].String())
}

func TestStringDrawsTheNetwork(t *testing.T) {
	n, a, r, b := routed(t)
	a.Out().Set(udptest.Faults{Loss: 0.1, Latency: 30 * time.Millisecond})
	n.Path(r, b).SetDown(true)
	r.NAT(r.Interface("eth1"), udptest.NATConfig{})
	b.Crash()
	require.Equal(t, strings.TrimPrefix(`
left
├─ r eth0 10.1.0.254/24 fd01::ff/64 (router)
└─ a eth0 10.1.0.1/24 fd01::1/64
      eth0 out: loss 10%, latency 30ms
right
├─ r eth1 10.2.0.254/24 fd02::ff/64 (router) (NAT)
│     to b: down
└─ b eth0 10.2.0.1/24 fd02::1/64 (crashed)
`, "\n"), n.String())
}
