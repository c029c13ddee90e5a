package udptest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// natted is a NAT with two hosts inside and two outside.
type natted struct {
	router         *udptest.Host
	in, in2, x, y  *udptest.Host
	q, xq, yq, x2q *udp.Queue
	c, xc, yc, x2c *udp.Conn // x2c is another port of x
}

func behindNAT(t *testing.T, cfg udptest.NATConfig) *natted {
	n := udptest.NewNet(t, udptest.Config{})
	home, internet := n.Segment("home"), n.Segment("internet")
	v := &natted{router: n.Router("nat")}
	v.router.Attach(home, "eth0", "192.168.0.254/24")
	v.router.SetNAT(v.router.Attach(internet, "eth1", "203.0.113.1"), cfg)
	v.in, v.in2 = home.Host("in", "192.168.0.1/24"), home.Host("in2", "192.168.0.2/24")
	v.in.SetGateway("192.168.0.254")
	v.in2.SetGateway("192.168.0.254")
	v.x, v.y = internet.Host("x", "198.51.100.1"), internet.Host("y", "198.51.100.2")
	open := func(h *udptest.Host, port string) (*udp.Queue, *udp.Conn) {
		q := udp.NewQueue(100, udp.Block)
		return q, listen(t, on(h), "udp4", port, q)
	}
	v.q, v.c = open(v.in, ":5000")
	v.xq, v.xc = open(v.x, ":1")
	v.yq, v.yc = open(v.y, ":1")
	v.x2q, v.x2c = open(v.x, ":2")
	return v
}

func (v *natted) addr(c *udp.Conn) netip.AddrPort {
	switch c {
	case v.yc:
		return netip.MustParseAddrPort("198.51.100.2:1")
	case v.x2c:
		return netip.MustParseAddrPort("198.51.100.1:2")
	}
	return netip.MustParseAddrPort("198.51.100.1:1")
}

// out sends from the inside and returns where it seems to come from.
func (v *natted) out(t *testing.T, to *udp.Conn) netip.AddrPort {
	q := map[*udp.Conn]*udp.Queue{v.xc: v.xq, v.yc: v.yq, v.x2c: v.x2q}[to]
	require.NoError(t, v.c.SendTo([]byte("out"), v.addr(to)))
	settle()
	require.Len(t, q.Datagrams(), 1)
	return (<-q.Datagrams()).From
}

// in sends from the outside and says whether it arrives.
func (v *natted) comesIn(t *testing.T, from *udp.Conn, to netip.AddrPort) bool {
	require.NoError(t, from.SendTo([]byte("in"), to))
	settle()
	return len(texts(v.q)) == 1
}

func TestNATMapping(t *testing.T) {
	for kind, want := range map[udptest.NATKind]string{
		udptest.EndpointIndependent:     "x2 as x, y as x",
		udptest.AddressDependent:        "x2 as x, y not",
		udptest.AddressAndPortDependent: "x2 not, y not",
	} {
		synctest.Test(t, func(t *testing.T) {
			v := behindNAT(t, udptest.NATConfig{Mapping: kind})
			x, x2, y := v.out(t, v.xc), v.out(t, v.x2c), v.out(t, v.yc)
			same := func(a netip.AddrPort) string {
				require.Equal(t, "203.0.113.1", a.Addr().String())
				if a == x {
					return "as x"
				}
				return "not"
			}
			require.Equal(t, uint16(5000), x.Port(), "the port is kept while it is free")
			require.Equal(t, want, fmt.Sprintf("x2 %s, y %s", same(x2), same(y)))
			require.Equal(t, x, v.out(t, v.xc), "again")
		})
	}
}

func TestNATFiltering(t *testing.T) {
	for kind, want := range map[udptest.NATKind][3]bool{
		udptest.EndpointIndependent:     {true, true, true},
		udptest.AddressDependent:        {true, true, false},
		udptest.AddressAndPortDependent: {true, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := behindNAT(t, udptest.NATConfig{Filtering: kind})
			x := v.out(t, v.xc)
			require.Equal(t, want, [3]bool{v.comesIn(t, v.xc, x), v.comesIn(t, v.x2c, x), v.comesIn(t, v.yc, x)})
		})
	}
}

func TestNATTimeouts(t *testing.T) {
	for _, inbound := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := behindNAT(t, udptest.NATConfig{Inbound: inbound, NewPorts: true})
			x := v.out(t, v.xc)
			require.NotEqual(t, uint16(5000), x.Port())
			time.Sleep(90 * time.Second)
			require.True(t, v.comesIn(t, v.xc, x))
			time.Sleep(90 * time.Second)
			require.Equal(t, inbound, v.comesIn(t, v.xc, x), "what comes in keeps it alive: %v", inbound)
			time.Sleep(119 * time.Second)
			v.out(t, v.xc)
			time.Sleep(119 * time.Second)
			require.True(t, v.comesIn(t, v.xc, v.out(t, v.xc)))
			time.Sleep(2 * time.Minute)
			require.False(t, v.comesIn(t, v.xc, x))
		})
	}
}

func TestNATPortsHairpinsAndRefusals(t *testing.T) {
	for _, hairpin := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := behindNAT(t, udptest.NATConfig{Hairpin: hairpin})
			x := v.out(t, v.xc)
			q := udp.NewQueue(10, udp.Block)
			c := listen(t, on(v.in2), "udp4", ":5000", q)
			require.NoError(t, c.SendTo([]byte("mine"), v.addr(v.xc)))
			settle()
			other := (<-v.xq.Datagrams()).From
			require.NotEqual(t, x, other, "the port was taken")
			require.NoError(t, c.SendTo([]byte("round"), x))
			settle()
			if hairpin {
				d := <-v.q.Datagrams()
				require.Equal(t, other, d.From)
				require.NoError(t, d.Reply([]byte("trip")))
				settle()
				require.Equal(t, x, (<-q.Datagrams()).From)
			} else {
				require.Empty(t, texts(v.q))
			}
			// A refusal from outside finds its way in, and one from inside out.
			rq := udp.NewQueue(10, udp.Block)
			require.NoError(t, dial(t, on(v.in), "udp", "198.51.100.1:9", rq).Send([]byte("?")))
			r := <-rq.Refusals()
			require.Equal(t, "198.51.100.1:9", r.Peer.String())
			closed(t, v.c)
			cfg := on(v.x)
			cfg.PeerErrors = true
			closed(t, v.xc)
			xq := udp.NewQueue(10, udp.Block)
			require.NoError(t, listen(t, cfg, "udp4", ":1", xq).SendTo([]byte("anybody?"), x))
			r = <-xq.Refusals()
			require.Equal(t, x, r.Peer)
			require.Equal(t, x.Addr(), r.Offender)
		})
	}
}
