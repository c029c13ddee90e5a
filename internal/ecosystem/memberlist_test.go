package ecosystem

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// A gossip is a memberlist.Transport: packets by a socket of package udp, streams in memory.
type gossip struct {
	udp.BaseHandler
	conn    *udp.Conn
	packets chan *memberlist.Packet
	streams chan net.Conn
	others  *streams
}

// streams finds the transport that has an address.
type streams struct {
	mu sync.Mutex
	of map[string]*gossip
}

func newGossip(t *testing.T, at place, others *streams) *gossip {
	t.Helper()
	g := &gossip{packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn), others: others}
	c, err := at.Listen(context.Background(), "udp4", at.addr+":0", g)
	require.NoError(t, err)
	g.conn = c
	others.mu.Lock()
	others.of[c.LocalAddr().String()] = g
	others.mu.Unlock()
	return g
}

func (g *gossip) Received(_ *udp.Conn, d udp.Datagram) {
	p := &memberlist.Packet{
		Buf:       append([]byte(nil), d.Data...),
		From:      net.UDPAddrFromAddrPort(d.From),
		Timestamp: time.Now(),
	}
	select {
	case g.packets <- p:
	default:
		d.Drop()
	}
}

func (g *gossip) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	a := g.conn.LocalAddr().(*net.UDPAddr)
	return a.IP, a.Port, nil
}

func (g *gossip) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err == nil {
		err = g.conn.SendTo(b, to)
	}
	return time.Now(), err
}

func (g *gossip) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	g.others.mu.Lock()
	other := g.others.of[addr]
	g.others.mu.Unlock()
	here, there := net.Pipe()
	select {
	case other.streams <- there:
		return here, nil
	case <-other.conn.Done():
		return nil, net.ErrClosed
	case <-time.After(timeout):
		return nil, context.DeadlineExceeded
	}
}

func (g *gossip) PacketCh() <-chan *memberlist.Packet { return g.packets }
func (g *gossip) StreamCh() <-chan net.Conn           { return g.streams }
func (g *gossip) Shutdown() error                     { return g.conn.Close() }

// members starts nodes of memberlist that know each other. The first reports its events.
func members(t *testing.T, at []place, events chan memberlist.NodeEvent) []*memberlist.Memberlist {
	t.Helper()
	others := &streams{of: make(map[string]*gossip)}
	var nodes []*memberlist.Memberlist
	for i, p := range at {
		c := memberlist.DefaultLANConfig()
		c.Name, c.Transport, c.LogOutput = fmt.Sprint("node", i), newGossip(t, p, others), io.Discard
		c.DisableTcpPings = true // the streams of this test pass where datagrams do not
		if i == 0 {
			c.Events = &memberlist.ChannelEventDelegate{Ch: events}
		}
		m, err := memberlist.Create(c)
		require.NoError(t, err)
		nodes = append(nodes, m)
		if i > 0 {
			_, err = m.Join([]string{nodes[i-1].LocalNode().Address()})
			require.NoError(t, err)
		}
	}
	return nodes
}

func TestMemberlist(t *testing.T) {
	noLeak(t)
	events := make(chan memberlist.NodeEvent, 16)
	nodes := members(t, []place{{addr: "127.0.0.1"}, {addr: "127.0.0.1"}, {addr: "127.0.0.1"}}, events)
	for known := 0; known < len(nodes); known++ {
		require.Equal(t, memberlist.NodeJoin, (<-events).Event)
	}
	for _, m := range nodes {
		require.NoError(t, m.Shutdown())
	}
}

// Five nodes on links that lose 5% stay alive to each other for two minutes; then one crashes,
// and the others notice.
func TestMemberlistInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Seed: 1})
		var hosts []*udptest.Host
		var at []place
		for i := range 5 {
			addr := fmt.Sprint("10.0.0.", i+1)
			h := n.Host(fmt.Sprint("node", i), addr)
			h.SetLink(udptest.Faults{Loss: 0.025, Latency: 10 * time.Millisecond})
			hosts, at = append(hosts, h), append(at, place{h.Config(), addr, true})
		}
		events := make(chan memberlist.NodeEvent, 64)
		nodes := members(t, at, events)
		time.Sleep(2 * time.Minute)
		for _, m := range nodes {
			require.Equal(t, 5, m.NumMembers())
		}
		for len(events) > 0 {
			require.Equal(t, memberlist.NodeJoin, (<-events).Event)
		}
		hosts[4].Crash()
		crashed := time.Now()
		for e := range events {
			if e.Event == memberlist.NodeLeave {
				require.Equal(t, "node4", e.Node.Name)
				break
			}
		}
		t.Logf("noticed after %v", time.Since(crashed))
		for _, m := range nodes {
			require.NoError(t, m.Shutdown())
		}
		time.Sleep(time.Minute) // Shutdown does not wait for the goroutines of probes
	})
}
