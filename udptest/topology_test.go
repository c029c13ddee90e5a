package udptest_test

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// texts takes what lies in a Queue now.
func texts(q *udp.Queue) (ts []string) {
	for {
		select {
		case d, open := <-q.Datagrams():
			if !open {
				return ts
			}
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

func TestMulticastIsForwardedByRoutersThatDoIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
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
			require.NoError(t, s.SetMulticastTTL(ttl))
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
		n := udptest.NewNet(t, udptest.Config{})
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

// routed is a host on each side of a router.
func routed(t *testing.T) (n *udptest.Net, a, r, b *udptest.Host) {
	n = udptest.NewNet(t, udptest.Config{})
	left, right := n.Segment("left"), n.Segment("right")
	r = n.Router("r")
	r.Attach(left, "eth0", "10.1.0.254/24", "fd01::ff/64")
	r.Attach(right, "eth1", "10.2.0.254/24", "fd02::ff/64")
	a, b = left.Host("a", "10.1.0.1/24", "fd01::1/64"), right.Host("b", "10.2.0.1/24", "fd02::1/64")
	a.SetGateway("10.1.0.254")
	a.SetGateway("fd01::ff")
	b.SetGateway("10.2.0.254")
	b.SetGateway("fd02::ff")
	return n, a, r, b
}

func TestRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, r, b := routed(t)
		ttl := 0
		b.SetFilter(func(p udptest.Packet) udptest.Action { ttl = p.TTL; return udptest.Accept })
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
			r.SetFilter(func(p udptest.Packet) udptest.Action {
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
			require.Equal(t, want, fields(got))
		}
	})
}

func TestTTLRunsOutInALoopOfRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		lan, loop := n.Segment("lan"), n.Segment("loop")
		r, s := n.Router("r"), n.Router("s")
		r.Attach(lan, "eth0", "10.1.0.254/24")
		out := r.Attach(loop, "eth1", "10.9.0.1/24")
		s.Attach(loop, "eth0", "10.9.0.2/24")
		r.SetGateway("10.9.0.2")
		s.SetGateway("10.9.0.1")
		a := lan.Host("a", "10.1.0.1/24")
		a.SetGateway("10.1.0.254")
		q := udp.NewQueue(10, udp.Block)
		require.NoError(t, dial(t, on(a), "udp", "8.8.8.8:53", q).Send(nil))
		f := <-q.Refusals()
		require.Equal(t, []uint8{11, 0}, []uint8{f.Type, f.Code})
		require.ErrorIs(t, f, syscall.EHOSTUNREACH)
		require.Equal(t, uint64(32), out.Out().Stats().Entered)
	})
}

// Twisted: V3
func TestInjectedErrorsMeetTheNthCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
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
