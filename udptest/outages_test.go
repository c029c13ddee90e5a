package udptest_test

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func TestDownAndPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b, c := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2"), n.Host("c", "10.0.0.3")
		hears := func() string {
			var s []string
			for _, from := range []*udptest.Host{a, b, c} {
				for _, to := range []*udptest.Host{a, b, c} {
					if from == to {
						continue
					}
					q := udp.NewQueue(1, udp.Block)
					to := listen(t, on(to), "udp4", to.Addr().String()+":7", q)
					conn := dial(t, on(from), "udp", to.LocalAddr().String(), udp.BaseHandler{})
					require.NoError(t, conn.Send(nil))
					time.Sleep(time.Millisecond)
					synctest.Wait()
					if len(q.Datagrams()) > 0 {
						s = append(s, conn.LocalAddrPort().Addr().String()[7:]+to.LocalAddrPort().Addr().String()[7:])
					}
					closed(t, to)
				}
			}
			return strings.Join(s, " ")
		}
		require.Equal(t, "12 13 21 23 31 32", hears())
		a.Out().SetDown(true)
		require.Equal(t, "21 23 31 32", hears(), "what a sends is lost")
		a.Out().SetDown(false)
		b.In().SetDown(true)
		require.Equal(t, "13 21 23 31", hears(), "what b gets is lost")
		b.In().SetDown(false)
		n.Path(a, b).SetDown(true)
		require.Equal(t, "13 21 23 31 32", hears(), "from a to b only")
		n.Path(a, b).SetDown(false)
		n.Partition([]*udptest.Host{a, b}, []*udptest.Host{c})
		require.Equal(t, "12 21", hears())
		n.Partition([]*udptest.Host{a})
		require.Equal(t, "23 32", hears())
		n.Heal()
		require.Equal(t, "12 13 21 23 31 32", hears())
		require.Equal(t, uint64(1), n.Path(a, b).Stats().Blocked)
	})
}

func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		old := listen(t, on(b), "udp", ":7", echo)
		q := udp.NewQueue(10, udp.Block)
		c := dial(t, on(a), "udp", "b:7", q)
		ask := func() bool {
			require.NoError(t, c.Send([]byte("?")))
			time.Sleep(time.Second)
			synctest.Wait()
			if len(q.Datagrams()) == 0 {
				return false
			}
			<-q.Datagrams()
			return true
		}
		require.True(t, ask())
		b.Crash()
		require.False(t, ask())
		require.Empty(t, q.Refusals(), "a dead host says nothing")
		_, err := on(b).Listen(ctx, "udp", ":7", echo)
		require.ErrorContains(t, err, "network is down")
		b.Restart()
		require.False(t, ask())
		require.Len(t, q.Refusals(), 1, "the old program is gone")
		require.NoError(t, old.SendTo([]byte("I am dead"), c.LocalAddrPort()))
		time.Sleep(time.Second)
		require.Empty(t, q.Datagrams())
		listen(t, on(b), "udp", ":7", echo)
		require.True(t, ask())
	})
}

func TestReceiveBufferOverflowIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		started, gate := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(gate) })
		defer release()
		cfg := on(b)
		cfg.ReadBuffer = 8 << 10
		server := listen(t, cfg, "udp", ":7", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if d.Data[0] == 0 {
				close(started)
				<-gate
			}
		}))
		c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		require.NoError(t, c.Send([]byte{0}))
		<-started
		for range 100 {
			require.NoError(t, c.Send(bytes.Repeat([]byte{1}, 256)))
		}
		time.Sleep(time.Second)
		require.Equal(t, int64(84), server.Stats().KernelDrops, "16 KiB are room for 16 of 1024 bytes")
		release()
	})
}

func TestACrashTakesWhatIsOnLoopback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a := n.Host("a", "10.0.0.1")
		a.Interface("lo").Out().Set(udptest.Faults{Latency: time.Second})
		listen := func(q *udp.Queue) *udp.MulticastConn {
			m, err := on(a).ListenMulticast(ctx, "udp4", ":7", q, group)
			require.NoError(t, err)
			t.Cleanup(func() { m.Close() })
			return m
		}
		old := listen(udp.NewQueue(10, udp.Block))
		require.NoError(t, old.SendTo([]byte("to itself"), netip.MustParseAddrPort("10.0.0.1:7")))
		require.NoError(t, old.SendTo([]byte("to the group"), netip.AddrPortFrom(group, 7)))
		a.Crash()
		a.Restart()
		q := udp.NewQueue(10, udp.Block)
		listen(q)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, texts(q))
	})
}

// Linux throws away what waits before an interface that goes down (dev_deactivate),
// and nobody can get back what is on the wire.
func TestARemovedInterfaceDiscardsWhatIsQueued(t *testing.T) {
	for name, goes := range map[string]func(i *udptest.Interface){
		"down":    func(i *udptest.Interface) { i.SetDown(true) },
		"removed": (*udptest.Interface).Remove,
	} {
		synctest.Test(t, func(t *testing.T) {
			n, a, c, q := slow(t)
			other := a.Attach(n.Segment("other"), "eth1", "10.1.0.1/24")
			a.Out().Set(udptest.Faults{Rate: 8000, Latency: time.Minute})
			require.Less(t, <-sends(c, 5), time.Millisecond)
			time.Sleep(2500 * time.Millisecond) // the third is half out
			goes(a.Interface("eth0"))
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Equal(t, 2, len(texts(q)), name)

			// The write buffer is empty, and so is the link.
			other.Out().Set(udptest.Faults{Rate: 8000})
			began := time.Now()
			m := listen(t, on(a), "udp4", ":0", udp.BaseHandler{})
			require.NoError(t, m.SendTo(make([]byte, 972), netip.MustParseAddrPort("10.1.0.9:7")))
			require.Zero(t, time.Since(began), name)
		})
	}
}

func TestAnInterfaceThatIsUpAgainHasNothingToSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, c, q := slow(t)
		eth0 := a.Interface("eth0")
		require.Less(t, <-sends(c, 5), time.Millisecond)
		eth0.SetDown(true)
		eth0.SetDown(false)
		require.Less(t, <-sends(c, 5), time.Millisecond, "there is room")
		time.Sleep(5100 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, 5, len(texts(q)))
		require.NoError(t, c.Send(make([]byte, 972)))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 1, len(texts(q)))
	})
}

// What has entered a link is numbered, whatever takes it.
func TestScriptsNumberWhatOutagesTake(t *testing.T) {
	for name, outage := range map[string]func(n *udptest.Net, b *udptest.Host, down bool){
		"the link": func(_ *udptest.Net, b *udptest.Host, down bool) { b.In().SetDown(down) },
		"a partition": func(n *udptest.Net, b *udptest.Host, down bool) {
			if n.Heal(); down {
				n.Partition([]*udptest.Host{b})
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.NewNet(t, udptest.Config{})
			a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
			q := udp.NewQueue(10, udp.Block)
			listen(t, on(b), "udp", ":7", q)
			b.In().Set(udptest.Faults{Script: udptest.DropNth(3)})
			c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
			for i := range 5 {
				outage(n, b, i == 0)
				require.NoError(t, c.Send([]byte(strconv.Itoa(i+1))))
				settle()
			}
			require.Equal(t, []string{"2", "4", "5"}, texts(q), name)
		})
	}
}
