package refusals_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// The network of these tests: a client, a router, and a server behind it.
//
//	client 192.0.2.1 --- 192.0.2.2 router 198.51.100.1 --- 198.51.100.2 server
type routed struct {
	client, router, server *netns.NS
	burst                  int // how many ICMP messages a host sends at once
}

var (
	clientAddr = map[bool]netip.Addr{false: netip.MustParseAddr("192.0.2.1"), true: netip.MustParseAddr("2001:db8:1::1")}
	routerAddr = map[bool]netip.Addr{false: netip.MustParseAddr("192.0.2.2"), true: netip.MustParseAddr("2001:db8:1::2")}
	serverAddr = map[bool]netip.Addr{false: netip.MustParseAddr("198.51.100.2"), true: netip.MustParseAddr("2001:db8:2::2")}
)

func newRouted(t *testing.T) routed {
	t.Helper()
	r := routed{netns.New(t), netns.New(t), netns.New(t), 50}
	netns.Veth(t, r.client, "c0", r.router, "r0")
	netns.Veth(t, r.router, "r1", r.server, "s0")
	for i, end := range []struct {
		ns   *netns.NS
		name string
	}{{r.client, "c0"}, {r.router, "r0"}, {r.router, "r1"}, {r.server, "s0"}} {
		end.ns.Addr(end.name, fmt.Sprintf("fe80::%d/64", i+1)) // neighbours ask from it
	}
	r.client.Addr("c0", "192.0.2.1/24", "2001:db8:1::1/64")
	r.router.Addr("r0", "192.0.2.2/24", "2001:db8:1::2/64")
	r.router.Addr("r1", "198.51.100.1/24", "2001:db8:2::1/64")
	r.server.Addr("s0", "198.51.100.2/24", "2001:db8:2::2/64")
	r.client.IP("route add default via 192.0.2.2")
	r.client.IP("-6 route add default via 2001:db8:1::2")
	r.server.IP("route add default via 198.51.100.1")
	r.server.IP("-6 route add default via 2001:db8:2::1")
	set := func(ns *netns.NS, name, value string) {
		if out, err := ns.Try("sh", "-c", "echo "+value+" > /proc/sys/net/"+name); err != nil {
			t.Skipf("net/%s can't be set: %v %s", name, err, out)
		}
	}
	set(r.router, "ipv4/ip_forward", "1")
	set(r.router, "ipv6/conf/all/forwarding", "1")
	for _, ns := range []*netns.NS{r.router, r.server} {
		// By default hosts limit their ICMP messages.
		set(ns, "ipv4/icmp_ratelimit", "0")
		set(ns, "ipv6/icmp/ratelimit", "0")
		// Before Linux 6.12 all namespaces share one limit: fifty messages at once, each of
		// which may count as two (icmp_global_allow in net/ipv4/icmp.c).
		_, err := ns.Try("sh", "-c", "cd /proc/sys/net/ipv4 && echo 1000000 >icmp_msgs_per_sec && echo 1000000 >icmp_msgs_burst")
		if err != nil {
			r.burst = 10
		}
	}
	return r
}

// Every kind of ICMP message reaches Refused with all its fields, once for each datagram, on
// connected and unconnected sockets.
func TestEveryICMPMessageIsReported(t *testing.T) {
	const port = 4000
	unreachable := func(v6 bool, reject string) func(*testing.T, routed, *udp.Conn) {
		return func(t *testing.T, r routed, _ *udp.Conn) {
			family := "icmp"
			if v6 {
				family = "icmpv6"
			}
			r.server.Command("nft", "add table inet no")
			r.server.Command("nft", "add chain inet no in { type filter hook input priority 0; }")
			r.server.Command("nft", fmt.Sprintf("add rule inet no in udp dport %d reject with %s type %s", port, family, reject))
		}
	}
	oneHop := func(level, option int) func(*testing.T, routed, *udp.Conn) {
		return func(t *testing.T, _ routed, c *udp.Conn) {
			rc, err := c.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, rc.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), level, option, 1) }))
			require.NoError(t, err)
		}
	}
	narrow := func(_ *testing.T, r routed, _ *udp.Conn) { r.router.IP("link set r1 mtu 1300") }

	for _, test := range []struct {
		name       string
		v6         bool
		arrange    func(*testing.T, routed, *udp.Conn)
		kind, code uint8
		errno      syscall.Errno
		router     bool // the offender
		mtu        int
	}{
		{"net unreachable", false, unreachable(false, "net-unreachable"), 3, 0, syscall.ENETUNREACH, false, 0},
		{"host unreachable", false, unreachable(false, "host-unreachable"), 3, 1, syscall.EHOSTUNREACH, false, 0},
		{"protocol unreachable", false, unreachable(false, "prot-unreachable"), 3, 2, syscall.ENOPROTOOPT, false, 0},
		{"port unreachable", false, unreachable(false, "port-unreachable"), 3, 3, syscall.ECONNREFUSED, false, 0},
		{"net prohibited", false, unreachable(false, "net-prohibited"), 3, 9, syscall.ENETUNREACH, false, 0},
		{"host prohibited", false, unreachable(false, "host-prohibited"), 3, 10, syscall.EHOSTUNREACH, false, 0},
		{"administratively prohibited", false, unreachable(false, "admin-prohibited"), 3, 13, syscall.EHOSTUNREACH, false, 0},
		{"time exceeded", false, oneHop(syscall.IPPROTO_IP, syscall.IP_TTL), 11, 0, syscall.EHOSTUNREACH, true, 0},
		{"fragmentation needed", false, narrow, 3, 4, syscall.EMSGSIZE, true, 1300},
		{"no route, IPv6", true, unreachable(true, "no-route"), 1, 0, syscall.ENETUNREACH, false, 0},
		{"administratively prohibited, IPv6", true, unreachable(true, "admin-prohibited"), 1, 1, syscall.EACCES, false, 0},
		{"address unreachable, IPv6", true, unreachable(true, "addr-unreachable"), 1, 3, syscall.EHOSTUNREACH, false, 0},
		{"port unreachable, IPv6", true, unreachable(true, "port-unreachable"), 1, 4, syscall.ECONNREFUSED, false, 0},
		{"policy, IPv6", true, unreachable(true, "policy-fail"), 1, 5, syscall.EACCES, false, 0},
		{"reject route, IPv6", true, unreachable(true, "reject-route"), 1, 6, syscall.EACCES, false, 0},
		{"hop limit exceeded, IPv6", true, oneHop(syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS), 3, 0, syscall.EHOSTUNREACH, true, 0},
		{"packet too big, IPv6", true, narrow, 2, 0, syscall.EMSGSIZE, true, 1300},
	} {
		for _, connected := range []bool{true, false} {
			name := test.name
			if !connected {
				name += ", unconnected"
			}
			t.Run(name, func(t *testing.T) {
				netns.Run(t, func() {
					r := newRouted(t)
					h := sockettest.NewRecorder()
					peer := netip.AddrPortFrom(serverAddr[test.v6], port)
					var c *udp.Conn
					var err error
					r.client.Do(func() {
						local := netip.AddrPortFrom(clientAddr[test.v6], 0).String()
						cfg := udp.Config{PeerErrors: !connected, MTUDiscovery: udp.MTUDiscoveryDo}
						if c, err = cfg.Listen(context.Background(), "udp", local, h); err == nil && connected {
							_, err = c.Connect(peer)
						}
					})
					sockettest.RequireSupported(t, err)
					sockettest.CloseAtEnd(t, c)
					if !c.Info().ErrorQueue {
						t.Skip("no error queue")
					}
					h.Next(t, "Started")
					test.arrange(t, r, c)

					n := r.burst
					if test.mtu > 0 {
						n = 1 // this host knows the MTU by then and refuses the second one itself
					}
					for i := range n {
						payload := strconv.Itoa(i)
						if test.mtu > 0 {
							payload = strings.Repeat("x", 1400)
						}
						require.NoError(t, c.SendTo([]byte(payload), peer), "a refusal of another datagram is no reason")
					}
					for i := range n {
						f := h.Next(t, "Refused").Refusal
						require.ErrorIs(t, f, udp.ErrRefused)
						require.ErrorIs(t, f, test.errno)
						require.Equal(t, peer, f.Peer)
						require.Equal(t, [2]uint8{test.kind, test.code}, [2]uint8{f.Type, f.Code})
						require.Equal(t, test.mtu, f.MTU)
						offender := serverAddr[test.v6]
						if test.router {
							offender = routerAddr[test.v6]
						}
						require.Equal(t, offender, f.Offender)
						if test.mtu == 0 {
							require.Equal(t, strconv.Itoa(i), string(f.Payload))
						} else {
							require.NotEmpty(t, f.Payload)
						}
					}
					if test.mtu > 0 {
						var err error
						r.client.Do(func() { err = c.SendTo(make([]byte, 1400), peer) })
						require.ErrorIs(t, err, udp.ErrTooLarge)
						var size *udp.SizeError
						require.ErrorAs(t, err, &size)
						require.Equal(t, test.mtu, size.MTU)
						// A datagram of that MTU passes, and reaches a host where nobody listens.
						require.NoError(t, c.SendTo(make([]byte, size.Max), peer))
						require.ErrorIs(t, h.Next(t, "Refused").Refusal, syscall.ECONNREFUSED)
						n++
					}
					sockettest.Stop(t, c)
					require.Equal(t, []string{"Stopped"}, h.Names())
					require.EqualValues(t, n, c.Stats().Refused)
				})
			})
		}
	}
}

// A dead peer costs another peer no datagrams: of 10,000 to each, in turn, all to the living one
// arrive.
func TestADeadPeerCostsALivingOneNothing(t *testing.T) {
	const n, ahead = 10_000, 50 // no more than the smallest receive buffer has room for
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			var got atomic.Int64
			var disorder atomic.Value
			all := make(chan struct{})
			live := sockettest.Listen(t, udp.Config{}, network, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				i := got.Add(1)
				if strconv.FormatInt(i-1, 10) != string(d.Data) {
					disorder.CompareAndSwap(nil, fmt.Sprintf("%s came as number %d", d.Data, i-1))
				}
				if i == n {
					close(all)
				}
			}))
			dead := sockettest.DeadPort(t, network)
			q := udp.NewQueue(1, udp.DropNewest)
			c, err := udp.Config{PeerErrors: true}.Listen(t.Context(), network, sockettest.Loopback(network)+":0", q)
			sockettest.RequireSupported(t, err)
			sockettest.CloseAtEnd(t, c)
			for i := range n {
				for int64(i)-got.Load() > ahead {
					runtime.Gosched()
				}
				if i%2 == 0 {
					require.NoError(t, c.SendTo([]byte(strconv.Itoa(i)), live.LocalAddrPort()))
					require.NoError(t, c.SendTo([]byte("nobody"), dead))
					continue
				}
				k, err := c.SendBatch([]udp.Message{
					{Data: []byte("nobody"), To: dead}, {Data: []byte(strconv.Itoa(i)), To: live.LocalAddrPort()}})
				require.NoError(t, err)
				require.Equal(t, 2, k)
			}
			sockettest.Next(t, all)
			require.Nil(t, disorder.Load())
			require.EqualValues(t, 2*n, c.Stats().Sent)
			r := sockettest.Next(t, q.Refusals())
			require.Equal(t, dead, r.Peer)
			require.Equal(t, "nobody", string(r.Payload))
			require.LessOrEqual(t, c.Stats().Refused, uint64(n))
		})
	}
}

// A handler that sends another datagram to the dead peer for each ICMP error causes errors without
// end, but its socket still receives from all others.
func TestSendingFromRefusedDoesNotStarveTheSocket(t *testing.T) {
	const n = 500
	dead := sockettest.DeadPort(t, "udp4")
	var circles, got atomic.Int64
	one := make(chan struct{}, n)
	c, err := udp.Config{PeerErrors: true}.Listen(t.Context(), "udp4", "127.0.0.1:0", &sockettest.Funcs{
		OnReceived: func(*udp.Conn, udp.Datagram) { got.Add(1); one <- struct{}{} },
		OnRefused: func(c *udp.Conn, _ *udp.Refusal) {
			circles.Add(1)
			c.SendTo([]byte("again"), dead)
		},
	})
	sockettest.RequireSupported(t, err)
	sockettest.CloseAtEnd(t, c)
	for range 20 {
		require.NoError(t, c.SendTo([]byte("first"), dead))
	}
	live := sockettest.ListenNet(t, "udp4")
	for range n {
		_, err := live.WriteToUDPAddrPort([]byte("hello"), c.LocalAddrPort())
		require.NoError(t, err)
		sockettest.Next(t, one)
	}
	require.NoError(t, c.Close(), "and it can be closed")
	require.Greater(t, circles.Load(), int64(20))
	require.EqualValues(t, n, got.Load())
}
