package udptest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/udptest"
)

func TestTheSocketThatFitsBestGetsADatagram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a := n.Host("a", "10.0.0.1", "fd00::1")
		b := n.Host("b", "10.0.0.2", "fd00::2")
		cfg := on(b)
		cfg.ReuseAddr = true
		client := listen(t, on(a), "udp", ":5", udp.BaseHandler{})
		who := func(to string) {
			require.NoError(t, client.SendTo(nil, netip.MustParseAddrPort(to)))
			settle()
		}
		var got []string
		open := func(name, network, address string) *udp.Conn {
			return listen(t, cfg, network, address, udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got = append(got, name) }))
		}
		open("both families", "udp", ":7")
		who("10.0.0.2:7")
		ipv4 := open("IPv4", "udp4", ":7")
		who("10.0.0.2:7")
		who("[fd00::2]:7")
		open("IPv4, later", "udp4", ":7")
		who("10.0.0.2:7")
		open("one address", "udp4", "10.0.0.2:7")
		who("10.0.0.2:7")
		_, err := ipv4.Connect(netip.MustParseAddrPort("10.0.0.1:5"))
		require.NoError(t, err)
		who("10.0.0.2:7")
		require.Equal(t, []string{"both families", "IPv4", "both families", "IPv4, later", "one address", "IPv4"}, got)
	})
}

func TestReusePortSpreadsFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		cfg := on(b)
		cfg.ReusePort = true
		seen := make(map[uint16]map[int]bool) // sockets, by the port of the sender
		counts := make([]int, 4)
		for i := range counts {
			listen(t, cfg, "udp4", ":7", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				counts[i]++
				if seen[d.From.Port()] == nil {
					seen[d.From.Port()] = make(map[int]bool)
				}
				seen[d.From.Port()][i] = true
			}))
		}
		for range 100 {
			c := dial(t, on(a), "udp", "10.0.0.2:7", udp.BaseHandler{})
			for range 3 {
				require.NoError(t, c.Send(nil))
				settle()
			}
		}
		require.Len(t, seen, 100)
		for _, sockets := range seen {
			require.Len(t, sockets, 1, "a flow stays with its socket")
		}
		for _, c := range counts {
			require.NotZero(t, c)
		}
	})
}

func TestItWorksInRealTimeToo(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{Faults: udptest.Faults{Latency: time.Millisecond}})
	a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
	listen(t, on(b), "udp", ":7", echo)
	q := udp.NewQueue(1, udp.Block)
	c := dial(t, on(a), "udp", "b:7", q)
	began := time.Now()
	for i := range 100 {
		require.NoError(t, c.Send(fmt.Append(nil, i)))
		require.Equal(t, fmt.Sprint(i), string((<-q.Datagrams()).Data))
	}
	require.GreaterOrEqual(t, time.Since(began), 400*time.Millisecond, "four links each time")
}

func TestManyNetworksAtOnceAreApart(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			got, _ := run(t, uint64(i), udptest.Faults{Exact: udptest.Exact{Lost: i + 1, Of: 10}}, 200, 4, time.Millisecond)
			require.Len(t, got, 180-20*i)
		})
	}
}

func TestNoBufferIsLost(t *testing.T) {
	before := buffer.Live()
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Seed: 3, Faults: udptest.Faults{
			Loss: 0.2, Duplicate: 0.3, Jitter: time.Millisecond, Corrupt: 0.1, MTU: 1400, Rate: 1e7, Queue: 5000,
		}})
		hosts := []*udptest.Host{n.Host("a", "10.0.0.1/24"), n.Host("b", "10.0.0.2/24"), n.Host("c", "10.0.0.3/24")}
		var conns []*udp.Conn
		var queues []*udp.Queue
		for _, h := range hosts {
			cfg := on(h)
			cfg.Broadcast, cfg.ReadBuffer = true, 4000
			q := udp.NewQueue(5, udp.DropOldest)
			m, err := cfg.ListenMulticast(ctx, "udp4", ":7", q, group)
			require.NoError(t, err)
			t.Cleanup(func() { m.Close() })
			queues = append(queues, q)
			conns = append(conns, m.Conn)
		}
		for i := range 500 {
			for _, to := range []string{"239.1.2.3:7", "10.0.0.255:7", "10.0.0.3:7", "10.0.0.2:9", "10.0.0.99:7"} {
				_ = conns[i%2].SendTo(make([]byte, 7*i%1500), netip.MustParseAddrPort(to))
			}
			if i == 300 {
				hosts[1].Crash()
			}
		}
		time.Sleep(time.Minute)
		for _, c := range conns {
			closed(t, c)
		}
		for _, q := range queues {
			for d := range q.Datagrams() {
				d.Release()
			}
		}
	})
	require.Equal(t, before, buffer.Live())
}
