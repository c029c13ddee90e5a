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
)

// memberOf makes a socket of ListenMulticast with books; a nil ifi is that of the
// system's choice.
func memberOf(t testing.TB, cfg udp.Config, network, address string, h udp.Handler, ifi *net.Interface, groups ...netip.Addr) *udp.MulticastConn {
	t.Helper()
	m, err := cfg.ListenMulticast(t.Context(), network, address, h)
	require.NoError(t, err)
	books(t, m)
	for _, g := range groups {
		require.NoError(t, m.Join(g, ifi))
	}
	if ifi != nil {
		require.NoError(t, m.SetInterface(ifi))
	}
	return m
}

func loopbackInterface(t testing.TB) *net.Interface {
	t.Helper()
	ifs, err := net.Interfaces()
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
	h := newRecorder()
	h.received = func(_ *udp.Conn, d udp.Datagram) { assert.NoError(t, d.Reply([]byte("pong"))) }
	m := memberOf(t, udp.Config{}, "udp4", ":0", h, lo, group)
	h.next(t, "Started")
	got, ok := m.Conn.Multicast()
	require.True(t, ok)
	require.Same(t, m, got)

	to := netip.AddrPortFrom(group, m.LocalAddrPort().Port())
	sender := newRecorder()
	s := memberOf(t, udp.Config{}, "udp4", ":0", sender, lo)
	sender.next(t, "Started")
	require.NoError(t, s.SendTo([]byte("ping"), to))
	e := h.next(t, "Received")
	require.Equal(t, "ping", e.data)
	require.Equal(t, s.LocalAddrPort().Port(), e.d.From.Port())
	if m.Info().PacketInfo {
		require.Equal(t, group, e.d.To)
		require.Equal(t, lo.Index, e.d.IfIndex)
	}
	// The answer comes from an address of the member's, never from the group.
	e = sender.next(t, "Received")
	require.Equal(t, "pong", e.data)
	require.Equal(t, m.LocalAddrPort().Port(), e.d.From.Port())
	require.False(t, e.d.From.Addr().IsMulticast())
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
		h := newRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, nil)
		h.next(t, "Started")
		s := c.sender(t, fam)
		port := m.LocalAddrPort().Port()
		// expect sends to the group and, after that, to the socket itself.
		expect := func(want bool) {
			t.Helper()
			require.NoError(t, s.SendTo([]byte("group"), netip.AddrPortFrom(fam.group, port)))
			require.NoError(t, s.SendTo([]byte("unicast"), netip.AddrPortFrom(fam.left, port)))
			e := h.next(t, "Received")
			if want {
				require.Equal(t, "group", e.data)
				require.Equal(t, fam.group, e.d.To)
				require.Equal(t, netip.AddrPortFrom(fam.right, s.LocalAddrPort().Port()), e.d.From)
				require.Equal(t, c.left.Index, e.d.IfIndex)
				e = h.next(t, "Received")
			}
			require.Equal(t, "unicast", e.data, "a socket with groups is one without, too")
			require.Equal(t, fam.left, e.d.To)
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
			requireOpError(t, err, "leave")
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
		h := newRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, nil)
		h.next(t, "Started")
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
				e := h.next(t, "Received")
				require.Equal(t, "group", e.data)
				require.Equal(t, w, e.d.From.Addr())
			}
			require.Equal(t, "unicast", h.next(t, "Received").data)
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

// The TTL is 1 unless set, goes out with every datagram, and stays in its range.
//
// Twisted: M3 MulticastTests.testTTL
func TestMulticastTTL(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		pc, err := net.ListenPacket(fam.network, ":0")
		require.NoError(t, err)
		defer pc.Close()
		ttl := fam.joinRaw(t, pc, c.left, fam.group)
		s := c.sender(t, fam)
		to := netip.AddrPortFrom(fam.group, addrPort(pc.(*net.UDPConn)).Port())
		expect := func(want int) {
			t.Helper()
			got, err := s.TTL()
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.NoError(t, s.SendTo([]byte("x"), to))
			got, err = ttl()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		expect(1)
		for _, n := range []int{2, 255} {
			require.NoError(t, s.SetTTL(n))
			expect(n)
		}
		for _, n := range []int{-1, 256} {
			err := s.SetTTL(n)
			requireOpError(t, err, "set")
			require.ErrorIs(t, err, syscall.EINVAL)
			expect(255)
		}
		require.NoError(t, s.SetTTL(0))
	})
}

// A member hears what its own host sends, unless SetLoopback says no; others
// hear it anyway.
//
// Twisted: M4 MulticastTests.test_loopback
func TestMulticastLoopback(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		h, far := newRecorder(), newRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, c.left, fam.group)
		h.next(t, "Started")
		port := m.LocalAddrPort().Port()
		var there *udp.MulticastConn
		c.there.Do(func() {
			there = memberOf(t, udp.Config{}, fam.network, netip.AddrPortFrom(fam.wildcard(), port).String(), far, c.right, fam.group)
		})
		far.next(t, "Started")
		expect := func(own bool) {
			t.Helper()
			on, err := m.Loopback()
			require.NoError(t, err)
			require.Equal(t, own, on)
			require.NoError(t, m.SendTo([]byte("group"), netip.AddrPortFrom(fam.group, port)))
			require.NoError(t, m.SendTo([]byte("unicast"), netip.AddrPortFrom(fam.left, port)))
			e := h.next(t, "Received")
			if own {
				require.Equal(t, "group", e.data)
				e = h.next(t, "Received")
			}
			require.Equal(t, "unicast", e.data)
			require.Equal(t, "group", far.next(t, "Received").data)
		}
		expect(true)
		require.NoError(t, m.SetLoopback(false))
		expect(false)
		require.NoError(t, m.SetLoopback(true))
		expect(true)
		require.NotNil(t, there)
	})
}

func (f family) wildcard() netip.Addr {
	if f.network == "udp4" {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// SetInterface chooses where groups' datagrams leave; Join where they come in.
//
// Twisted: M5 MulticastTests.test_interface
func TestMulticastInterface(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		if fam.network == "udp4" { // the wire is there for both families
			netns.Veth(t, c.here, "left2", c.there, "right2")
			c.here.Addr("left2", "198.51.100.1/24")
			c.there.Addr("right2", "198.51.100.2/24")
			c.here.Addr("left2", "2001:db8:2::1/64")
			c.there.Addr("right2", "2001:db8:2::2/64")
		}
		left2, right2 := c.here.Interface("left2"), c.there.Interface("right2")
		h := newRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, nil)
		h.next(t, "Started")
		require.NoError(t, m.Join(fam.group), "on both")
		require.Len(t, m.Memberships()[0].On, 2)
		s := c.sender(t, fam)
		to := netip.AddrPortFrom(fam.group, m.LocalAddrPort().Port())
		for _, way := range []struct{ out, in *net.Interface }{{c.right, c.left}, {right2, left2}, {c.right, c.left}} {
			c.there.Do(func() {
				require.NoError(t, s.SetInterface(way.out))
				got, err := s.Interface()
				require.NoError(t, err)
				require.Equal(t, way.out.Name, got.Name)
			})
			require.NoError(t, s.SendTo([]byte("x"), to))
			require.Equal(t, way.in.Index, h.next(t, "Received").d.IfIndex)
		}
		// Joined on one of them only, the other's don't arrive.
		require.NoError(t, m.Leave(fam.group, c.left))
		require.NoError(t, s.SendTo([]byte("no"), to))
		require.NoError(t, s.SetInterface(right2))
		require.NoError(t, s.SendTo([]byte("yes"), to))
		require.Equal(t, "yes", h.next(t, "Received").data)

		require.NoError(t, s.SetInterface(nil))
		got, err := s.Interface()
		require.NoError(t, err)
		require.Nil(t, got)
		err = s.SetInterface(&net.Interface{Index: 1 << 20, Name: "nothing"})
		requireOpError(t, err, "set")
		require.ErrorIs(t, err, syscall.ENODEV)
		got, err = s.Interface()
		require.NoError(t, err)
		require.Nil(t, got, "as it was")
	})
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
				var hs []*recorder
				var ms []*udp.MulticastConn
				address := ":0"
				for _, groups := range [][]netip.Addr{{fam.group}, {fam.group}, {fam.other}, {fam.group, fam.other}, nil} {
					h := newRecorder()
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
					hs[i].next(t, "Started")
					for range 3 {
						for _, data := range want {
							e := hs[i].next(t, "Received")
							require.Equal(t, data, e.data, "socket %d", i)
							require.Equal(t, map[string]netip.Addr{"one": fam.group, "two": fam.other}[data], e.d.To)
						}
					}
				}
				// All has been delivered by now, also what nobody should have got.
				for i, m := range ms {
					require.NoError(t, m.Shutdown(t.Context()))
					require.Equal(t, []string{"Stopped"}, hs[i].names(), "socket %d", i)
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
	books(t, m)
	_, err = udp.ListenMulticast(t.Context(), "udp4", m.LocalAddr().String(), udp.BaseHandler{})
	requireOpError(t, err, "listen")
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
		h, plain := newRecorder(), newRecorder()
		m := memberOf(t, udp.Config{}, fam.network, ":0", h, c.left, fam.group)
		h.next(t, "Started")
		to := netip.AddrPortFrom(fam.group, m.LocalAddrPort().Port())
		var p *udp.Conn
		c.there.Do(func() {
			if fam.network == "udp4" {
				c.there.IP("route replace 224.0.0.0/4 dev right")
			}
			var err error
			p, err = udp.Listen(t.Context(), fam.network, net.JoinHostPort(fam.right.String(), "0"), plain)
			require.NoError(t, err)
			books(t, p)
		})
		plain.next(t, "Started")
		_, ok := p.Multicast()
		require.False(t, ok)
		require.NoError(t, p.SendTo([]byte("x"), to))
		require.Equal(t, p.LocalAddrPort(), h.next(t, "Received").d.From)

		cc, err := m.Connect(p.LocalAddrPort())
		require.NoError(t, err)
		require.NoError(t, cc.Send([]byte("back")))
		require.Equal(t, "back", plain.next(t, "Received").data)
		require.NoError(t, p.SendTo([]byte("unicast"), netip.AddrPortFrom(fam.left, to.Port())))
		require.Equal(t, "unicast", h.next(t, "Received").data)
		require.Len(t, m.Memberships(), 1, "memberships survive")
		_, err = cc.Disconnect()
		require.NoError(t, err)
		require.NoError(t, p.SendTo([]byte("y"), to))
		require.Equal(t, "y", h.next(t, "Received").data)
	})
}

// A socket of both families joins groups of both.
func TestGroupsOfBothFamilies(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		h := newRecorder()
		m, err := udp.ListenMulticast(t.Context(), "udp", ":0", h, families[0].group, families[1].group)
		require.NoError(t, err)
		books(t, m)
		h.next(t, "Started")
		require.Len(t, m.Memberships(), 2)
		s := c.sender(t, fam)
		require.NoError(t, s.SendTo([]byte("x"), netip.AddrPortFrom(fam.group, m.LocalAddrPort().Port())))
		e := h.next(t, "Received")
		require.Equal(t, fam.group, e.d.To)
		require.Equal(t, fam.right, e.d.From.Addr())
		require.NoError(t, m.SetTTL(7))
		n, err := m.TTL()
		require.NoError(t, err)
		require.Equal(t, 7, n)
	})
}

// The groups choose the family of "udp", and may stand in the address.
func TestListenMulticastAddresses(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		for _, test := range []struct {
			name, address string
			groups        []netip.Addr
			want          int
		}{
			{"a group after the address", ":0", []netip.Addr{fam.group}, 1},
			{"two groups", ":0", []netip.Addr{fam.group, fam.other}, 2},
			{"a group in the address", net.JoinHostPort(fam.group.String(), "0"), nil, 1},
			{"the same group twice", net.JoinHostPort(fam.group.String(), "0"), []netip.Addr{fam.group}, 1},
		} {
			t.Run(test.name, func(t *testing.T) {
				for _, network := range []string{"udp", fam.network} {
					h := newRecorder()
					m, err := udp.ListenMulticast(t.Context(), network, test.address, h, test.groups...)
					require.NoError(t, err)
					books(t, m)
					h.next(t, "Started")
					require.Equal(t, fam.group.Is4(), m.LocalAddrPort().Addr().Is4())
					ms := m.Memberships()
					require.Len(t, ms, test.want)
					require.Equal(t, fam.group, ms[0].Group)
					require.True(t, ms[0].All)
					s := c.sender(t, fam)
					require.NoError(t, s.SendTo([]byte("x"), netip.AddrPortFrom(fam.group, m.LocalAddrPort().Port())))
					require.Equal(t, fam.group, h.next(t, "Received").d.To)
				}
			})
		}
		_, err := udp.ListenMulticast(t.Context(), fam.network, net.JoinHostPort(fam.group.String(), "0"), udp.BaseHandler{}, fam.other)
		requireOpError(t, err, "join")
		require.ErrorIs(t, err, syscall.EINVAL, "bound to one group it hears no other")
	})
}

// What can't be joined says why.
//
// Twisted: M2 MulticastTests.test_joinFailure
func TestBadMemberships(t *testing.T) {
	lo := loopbackInterface(t)
	for _, fam := range families {
		if fam.network == "udp6" && len(networks(t)) == 1 {
			continue
		}
		t.Run(fam.network, func(t *testing.T) {
			h := newRecorder()
			m := memberOf(t, udp.Config{}, fam.network, ":0", h, nil)
			h.next(t, "Started")
			addrError := func(err error) bool { return errors.As(err, new(*net.AddrError)) }
			is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
			for _, test := range []struct {
				name, op string
				err      error
				ok       func(error) bool
			}{
				{"no group", "join", m.Join(fam.notAGroup, lo), is(syscall.EINVAL)},
				{"the zero address", "join", m.Join(netip.Addr{}, lo), is(syscall.EINVAL)},
				{"a group of the other family", "join", m.Join(fam.wildly, lo), is(udp.ErrFamily)},
				{"a nil interface", "join", m.Join(fam.group, nil), addrError},
				{"an interface without index and name", "join", m.Join(fam.group, &net.Interface{}), addrError},
				{"an interface that there is not", "join", m.Join(fam.group, &net.Interface{Index: 1 << 20, Name: "nothing"}), is(syscall.ENODEV)},
				{"no source", "join", m.JoinSource(fam.group, netip.Addr{}, lo), addrError},
				{"a source that is a group", "join", m.JoinSource(fam.group, fam.other, lo), is(syscall.EINVAL)},
				{"the unspecified source", "join", m.JoinSource(fam.group, fam.wildcard(), lo), is(syscall.EINVAL)},
				{"a source of the other family", "join", m.JoinSource(fam.group, families[0].left, lo), func(err error) bool {
					return fam.network == "udp4" || errors.Is(err, udp.ErrFamily)
				}},
				{"leaving no group", "leave", m.Leave(fam.notAGroup), is(syscall.EINVAL)},
				{"leaving what is not joined", "leave", m.Leave(fam.other), is(syscall.EADDRNOTAVAIL)},
				{"leaving no source", "leave", m.LeaveSource(fam.group, netip.Addr{}), addrError},
				{"leaving a source that is not joined", "leave", m.LeaveSource(fam.other, fam.left), is(syscall.EADDRNOTAVAIL)},
			} {
				t.Run(test.name, func(t *testing.T) {
					require.True(t, test.ok(test.err), "%v", test.err)
					if test.err != nil {
						requireOpError(t, test.err, test.op)
					}
				})
			}
			_, err := udp.ListenMulticast(t.Context(), fam.network, ":0", h, fam.group, fam.notAGroup)
			require.ErrorIs(t, err, syscall.EINVAL)
			_, err = udp.ListenMulticast(t.Context(), fam.network, ":0", h, fam.wildly)
			require.ErrorIs(t, err, udp.ErrFamily)
			require.Empty(t, h.names(), "the Handler hears nothing of it")

			require.NoError(t, m.Close())
			for _, err := range []error{
				m.Join(fam.group, lo), m.Leave(fam.group), m.JoinSource(fam.group, fam.left, lo),
				m.LeaveSource(fam.group, fam.left), m.SetTTL(1), m.SetLoopback(true), m.SetInterface(lo),
			} {
				require.ErrorIs(t, err, net.ErrClosed)
				require.ErrorAs(t, err, new(*net.OpError))
			}
			_, err = m.TTL()
			require.ErrorIs(t, err, net.ErrClosed)
			_, err = m.Loopback()
			require.ErrorIs(t, err, net.ErrClosed)
		})
	}
}
