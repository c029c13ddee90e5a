package udp_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// memberOf makes a socket of ListenMulticast that the test closes; a nil ifi is that
// of the system's choice.
func memberOf(t testing.TB, cfg udp.Config, network, address string, h udp.Handler, ifi *net.Interface, groups ...netip.Addr) *udp.MulticastConn {
	t.Helper()
	m, err := cfg.ListenMulticast(t.Context(), network, address, h)
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, m)
	for _, g := range groups {
		require.NoError(t, m.Join(g, ifi))
	}
	if ifi != nil {
		require.NoError(t, m.SetMulticastInterface(ifi))
	}
	return m
}

func loopbackInterface(t testing.TB) *net.Interface {
	t.Helper()
	ifs, err := net.Interfaces()
	if errors.Is(err, syscall.EINVAL) { // QEMU's emulator of a big-endian processor garbles them
		return &net.Interface{Index: 1, Name: "lo", Flags: net.FlagUp | net.FlagLoopback}
	}
	require.NoError(t, err)
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			return &i
		}
	}
	t.Skip("no loopback interface")
	return nil
}

// Groups of IPv4 work on loopback, so on every machine.
//
// Twisted: MulticastTests.test_multicast
func TestMulticastOnLoopback(t *testing.T) {
	lo, group := loopbackInterface(t), netip.MustParseAddr("239.255.42.1")
	h := sockettest.NewRecorder()
	h.OnReceived = func(_ *udp.Conn, d udp.Datagram) { assert.NoError(t, d.Reply([]byte("pong"))) }
	m := memberOf(t, udp.Config{}, "udp4", ":0", h, lo, group)
	h.Next(t, "Started")
	got, ok := m.Conn.Multicast()
	require.True(t, ok)
	require.Equal(t, m, got)

	to := netip.AddrPortFrom(group, m.LocalAddrPort().Port())
	sender := sockettest.NewRecorder()
	s := memberOf(t, udp.Config{}, "udp4", ":0", sender, lo)
	sender.Next(t, "Started")
	require.NoError(t, s.SendTo([]byte("ping"), to))
	e := h.Next(t, "Received")
	require.Equal(t, "ping", e.Data)
	require.Equal(t, s.LocalAddrPort().Port(), e.Datagram.From.Port())
	if m.Info().PacketInfo {
		require.Equal(t, group, e.Datagram.To().Addr())
		require.Equal(t, lo.Index, e.Datagram.IfIndex())
	}
	// The answer comes from an address of the member's, never from the group.
	e = sender.Next(t, "Received")
	require.Equal(t, "pong", e.Data)
	require.Equal(t, m.LocalAddrPort().Port(), e.Datagram.From.Port())
	require.False(t, e.Datagram.From.Addr().IsMulticast())
}

// A wire between two namespaces, in each of which there is an address of each
// family; the test's process is in the first.
type wire struct {
	here, there *netns.NS
	left, right *net.Interface
}

// A family is what multicast tests need of an IP version.
type family struct {
	network      string
	left, right  netip.Addr // addresses of the wire's ends
	second       netip.Addr // for another one of the right end
	group, other netip.Addr
	// joinRaw joins a group on a socket of package net and returns what reads the
	// TTL of a datagram.
	joinRaw           func(testing.TB, net.PacketConn, *net.Interface, netip.Addr) (ttl func() (int, error))
	notAGroup, wildly netip.Addr // no group; a group of the other family
}

var families = []family{
	{
		network: "udp4", left: netip.MustParseAddr("192.0.2.1"), right: netip.MustParseAddr("192.0.2.2"),
		second: netip.MustParseAddr("192.0.2.3"),
		group:  netip.MustParseAddr("239.255.42.1"), other: netip.MustParseAddr("239.255.42.2"),
		notAGroup: netip.MustParseAddr("127.0.0.1"), wildly: netip.MustParseAddr("ff05::4242"),
		joinRaw: func(t testing.TB, pc net.PacketConn, ifi *net.Interface, g netip.Addr) func() (int, error) {
			p := ipv4.NewPacketConn(pc)
			require.NoError(t, p.JoinGroup(ifi, &net.UDPAddr{IP: g.AsSlice()}))
			require.NoError(t, p.SetControlMessage(ipv4.FlagTTL, true))
			return func() (int, error) {
				_, cm, _, err := p.ReadFrom(make([]byte, 100))
				if err != nil {
					return 0, err
				}
				return cm.TTL, nil
			}
		},
	},
	{
		network: "udp6", left: netip.MustParseAddr("2001:db8::1"), right: netip.MustParseAddr("2001:db8::2"),
		second: netip.MustParseAddr("2001:db8::3"),
		group:  netip.MustParseAddr("ff05::4242"), other: netip.MustParseAddr("ff05::4243"),
		notAGroup: netip.MustParseAddr("::1"), wildly: netip.MustParseAddr("239.255.42.1"),
		joinRaw: func(t testing.TB, pc net.PacketConn, ifi *net.Interface, g netip.Addr) func() (int, error) {
			p := ipv6.NewPacketConn(pc)
			require.NoError(t, p.JoinGroup(ifi, &net.UDPAddr{IP: g.AsSlice()}))
			require.NoError(t, p.SetControlMessage(ipv6.FlagHopLimit, true))
			return func() (int, error) {
				_, cm, _, err := p.ReadFrom(make([]byte, 100))
				if err != nil {
					return 0, err
				}
				return cm.HopLimit, nil
			}
		},
	},
}

// onCable runs f for both families in a process of its own.
func onCable(t *testing.T, f func(t *testing.T, c wire, fam family)) {
	t.Helper()
	netns.Isolated(t, func() {
		c := wire{here: netns.Self(t), there: netns.New(t)}
		netns.Veth(t, c.here, "left", c.there, "right")
		for _, fam := range families {
			bits := "/24"
			if fam.network == "udp6" {
				bits = "/64"
			}
			c.here.Addr("left", fam.left.String()+bits)
			c.there.Addr("right", fam.right.String()+bits)
		}
		c.left, c.right = c.here.Interface("left"), c.there.Interface("right")
		for _, fam := range families {
			t.Run(fam.network, func(t *testing.T) { f(t, c, fam) })
		}
	})
}

// sender makes a socket at the right end that sends groups' datagrams there.
func (c wire) sender(t testing.TB, fam family) (m *udp.MulticastConn) {
	t.Helper()
	c.there.Do(func() { m = memberOf(t, udp.Config{}, fam.network, ":0", udp.BaseHandler{}, c.right) })
	return m
}

// What is joined arrives, what is left does not any more, and can be joined again.
//
// Twisted: M1 M2 M7 MulticastTests.test_joinLeave MulticastTests.test_multicast
func TestJoinAndLeave(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		h := sockettest.NewRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, nil)
		h.Next(t, "Started")
		s := c.sender(t, fam)
		port := m.LocalAddrPort().Port()
		// expect sends to the group and, after that, to the socket itself.
		expect := func(want bool) {
			t.Helper()
			require.NoError(t, s.SendTo([]byte("group"), netip.AddrPortFrom(fam.group, port)))
			require.NoError(t, s.SendTo([]byte("unicast"), netip.AddrPortFrom(fam.left, port)))
			e := h.Next(t, "Received")
			if want {
				require.Equal(t, "group", e.Data)
				require.Equal(t, fam.group, e.Datagram.To().Addr())
				require.Equal(t, netip.AddrPortFrom(fam.right, s.LocalAddrPort().Port()), e.Datagram.From)
				require.Equal(t, c.left.Index, e.Datagram.IfIndex())
				e = h.Next(t, "Received")
			}
			require.Equal(t, "unicast", e.Data, "a socket with groups is one without, too")
			require.Equal(t, fam.left, e.Datagram.To().Addr())
		}
		expect(false)
		for _, ifs := range [][]*net.Interface{{c.left}, nil} {
			require.NoError(t, m.Join(fam.group, ifs...))
			require.NoError(t, m.Join(fam.group, ifs...), "again")
			expect(true)
			ms := m.Memberships()
			require.Len(t, ms, 1)
			require.Equal(t, fam.group, ms[0].Group)
			require.Equal(t, ifs == nil, ms[0].All)
			require.True(t, ms[0].Held())
			require.False(t, ms[0].Source.IsValid())
			require.NoError(t, m.Leave(fam.group, ifs...))
			require.Empty(t, m.Memberships())
			expect(false)
			err := m.Leave(fam.group, ifs...)
			sockettest.RequireOpError(t, err, "leave")
			require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
		}
		require.NoError(t, m.Join(fam.group.WithZone(map[bool]string{true: "left"}[fam.group.Is6()])))
		expect(true)
	})
}

// Source-specific membership takes one sender's datagrams and nobody else's.
//
// Twisted: M8
func TestJoinSource(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		h := sockettest.NewRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, nil)
		h.Next(t, "Started")
		c.there.Addr("right", fam.second.String()+map[bool]string{true: "/24", false: "/64"}[fam.second.Is4()])
		s := c.sender(t, fam)
		to := netip.AddrPortFrom(fam.group, m.LocalAddrPort().Port())
		expect := func(want ...netip.Addr) {
			t.Helper()
			n, err := s.SendBatch([]udp.Message{
				{Data: []byte("group"), To: to, From: fam.right},
				{Data: []byte("group"), To: to, From: fam.second},
				{Data: []byte("unicast"), To: netip.AddrPortFrom(fam.left, to.Port())},
			})
			require.NoError(t, err)
			require.Equal(t, 3, n)
			for _, w := range want {
				e := h.Next(t, "Received")
				require.Equal(t, "group", e.Data)
				require.Equal(t, w, e.Datagram.From.Addr())
			}
			require.Equal(t, "unicast", h.Next(t, "Received").Data)
		}
		expect()
		require.NoError(t, m.JoinSource(fam.group, fam.second, c.left))
		expect(fam.second)
		require.Equal(t, fam.second, m.Memberships()[0].Source)
		require.NoError(t, m.JoinSource(fam.group, fam.right, c.left))
		expect(fam.right, fam.second)
		require.Len(t, m.Memberships(), 2)
		require.NoError(t, m.LeaveSource(fam.group, fam.second, c.left))
		expect(fam.right)
		require.NoError(t, m.LeaveSource(fam.group, fam.right))
		expect()
		require.ErrorIs(t, m.LeaveSource(fam.group, fam.right), syscall.EADDRNOTAVAIL)
	})
}

func (f family) wildcard() netip.Addr {
	if f.network == "udp4" {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Sockets that share a port each get the groups that they have joined themselves,
// whole, and no other's.
//
// Twisted: M6 M8 MulticastTests.test_multiListen
func TestGroupsOnOnePortAreKeptApart(t *testing.T) {
	for _, cfg := range []struct {
		name string
		udp.Config
	}{{"ReuseAddr", udp.Config{ReuseAddr: true}}, {"ReusePort", udp.Config{ReusePort: true}}} {
		t.Run(cfg.name, func(t *testing.T) {
			onCable(t, func(t *testing.T, c wire, fam family) {
				var hs []*sockettest.Recorder
				var ms []*udp.MulticastConn
				address := ":0"
				for _, groups := range [][]netip.Addr{{fam.group}, {fam.group}, {fam.other}, {fam.group, fam.other}, nil} {
					h := sockettest.NewRecorder()
					m := memberOf(t, cfg.Config, fam.network, address, h, c.left, groups...)
					address = netip.AddrPortFrom(fam.wildcard(), m.LocalAddrPort().Port()).String()
					hs, ms = append(hs, h), append(ms, m)
				}
				s := c.sender(t, fam)
				port := ms[0].LocalAddrPort().Port()
				for range 3 {
					require.NoError(t, s.SendTo([]byte("one"), netip.AddrPortFrom(fam.group, port)))
					require.NoError(t, s.SendTo([]byte("two"), netip.AddrPortFrom(fam.other, port)))
				}
				for i, want := range [][]string{{"one"}, {"one"}, {"two"}, {"one", "two"}, nil} {
					hs[i].Next(t, "Started")
					for range 3 {
						for _, data := range want {
							e := hs[i].Next(t, "Received")
							require.Equal(t, data, e.Data, "socket %d", i)
							require.Equal(t, map[string]netip.Addr{"one": fam.group, "two": fam.other}[data], e.Datagram.To().Addr())
						}
					}
				}
				// All has been delivered by now, also what nobody should have got.
				for i, m := range ms {
					require.NoError(t, m.Shutdown(t.Context()))
					require.Equal(t, []string{"Stopped"}, hs[i].Names(), "socket %d", i)
				}
			})
		})
	}
}

// Without ReuseAddr or ReusePort a port is one socket's.
//
// Twisted: L5
func TestAPortIsNotSharedUnasked(t *testing.T) {
	m, err := udp.ListenMulticast(t.Context(), "udp4", ":0", udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, m)
	_, err = udp.ListenMulticast(t.Context(), "udp4", m.LocalAddr().String(), udp.BaseHandler{})
	sockettest.RequireOpError(t, err, "listen")
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, err = udp.Config{ReuseAddr: true, ReusePort: true}.Listen(t.Context(), "udp4", m.LocalAddr().String(), udp.BaseHandler{})
	require.ErrorIs(t, err, syscall.EADDRINUSE, "the first one has to agree")
}

// An ordinary socket may send to a group, and a member may be connected; it hears
// its peer then.
//
// Twisted: M7
func TestMulticastBesideTheRest(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		h, plain := sockettest.NewRecorder(), sockettest.NewRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, c.left, fam.group)
		h.Next(t, "Started")
		to := netip.AddrPortFrom(fam.group, m.LocalAddrPort().Port())
		var p *udp.Conn
		c.there.Do(func() {
			if fam.network == "udp4" {
				c.there.IP("route replace 224.0.0.0/4 dev right")
			}
			var err error
			p, err = udp.Listen(t.Context(), fam.network, net.JoinHostPort(fam.right.String(), "0"), plain)
			require.NoError(t, err)
			sockettest.CloseAtEnd(t, p)
		})
		plain.Next(t, "Started")
		_, ok := p.Multicast()
		require.False(t, ok)
		require.NoError(t, p.SendTo([]byte("x"), to))
		require.Equal(t, p.LocalAddrPort(), h.Next(t, "Received").Datagram.From)

		cc, err := m.Connect(p.LocalAddrPort())
		require.NoError(t, err)
		require.NoError(t, cc.Send([]byte("back")))
		require.Equal(t, "back", plain.Next(t, "Received").Data)
		require.NoError(t, p.SendTo([]byte("unicast"), netip.AddrPortFrom(fam.left, to.Port())))
		require.Equal(t, "unicast", h.Next(t, "Received").Data)
		require.Len(t, m.Memberships(), 1, "memberships survive")
		_, err = cc.Disconnect()
		require.NoError(t, err)
		require.NoError(t, p.SendTo([]byte("y"), to))
		require.Equal(t, "y", h.Next(t, "Received").Data)
	})
}
