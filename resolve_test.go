package udp_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/internal/sys"
	"github.com/udpkit/udp/udptest"
)

// A nameserver answers DNS queries (RFC 1035) on loopback.
type nameserver struct {
	conn    *udp.Conn
	zone    map[string][]netip.Addr
	silent  atomic.Bool // let the client wait
	queries chan string
}

func newNameserver(t testing.TB, zone map[string][]netip.Addr) *nameserver {
	t.Helper()
	s := &nameserver{zone: zone, queries: make(chan string, 1000)}
	s.conn = sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		var q dnsmessage.Message
		if !assert.NoError(t, q.Unpack(d.Data)) || !assert.Len(t, q.Questions, 1) {
			return
		}
		name := strings.TrimSuffix(q.Questions[0].Name.String(), ".")
		s.queries <- name
		if s.silent.Load() {
			return
		}
		b, err := s.answer(q, name).Pack()
		assert.NoError(t, err)
		assert.NoError(t, d.Reply(b))
	}))
	return s
}

func (s *nameserver) answer(q dnsmessage.Message, name string) *dnsmessage.Message {
	a := &dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true, RecursionDesired: q.RecursionDesired},
		Questions: q.Questions,
	}
	addrs, ok := s.zone[name]
	if !ok {
		a.RCode = dnsmessage.RCodeNameError
	}
	for _, addr := range addrs {
		h := dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60}
		switch {
		case addr.Is4() && q.Questions[0].Type == dnsmessage.TypeA:
			a.Answers = append(a.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && q.Questions[0].Type == dnsmessage.TypeAAAA:
			a.Answers = append(a.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	return a
}

// resolver asks s, whatever the system's resolver would do. Go's resolver leaves
// its sockets waiting for seconds when its context ends, so that is done here.
func (s *nameserver) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "udp", s.conn.LocalAddr().String())
		if err == nil {
			context.AfterFunc(ctx, func() { c.Close() })
		}
		return c, err
	}}
}

func addrs(ss ...string) (as []netip.Addr) {
	for _, s := range ss {
		as = append(as, netip.MustParseAddr(s))
	}
	return as
}

var zone = map[string][]netip.Addr{
	"both.test":  addrs("127.0.0.1", "127.0.0.2", "::1", "2001:db8::1"),
	"four.test":  addrs("127.0.0.1"),
	"six.test":   addrs("::1"),
	"empty.test": nil,
}

// Resolve gives all addresses that fit the network, or says why not.
//
// Twisted: N1 N2 test_resolver:resolveOneHost test_resolver:resolveOneIPv6Host
// test_resolver:resolveBoth test_resolver:resolveOnlyIPv4
// test_resolver:resolveOnlyIPv6
func TestResolve(t *testing.T) {
	s := newNameserver(t, zone)
	cfg := udp.Config{Resolver: s.resolver()}
	for _, test := range []struct {
		name, network, address string
		want                   []string
	}{
		{"all addresses of a name, of both families", "udp", "both.test.:53", []string{"127.0.0.1:53", "127.0.0.2:53", "[::1]:53", "[2001:db8::1]:53"}},
		{"IPv4 only", "udp4", "both.test.:53", []string{"127.0.0.1:53", "127.0.0.2:53"}},
		{"IPv6 only", "udp6", "both.test.:53", []string{"[::1]:53", "[2001:db8::1]:53"}},
		{"a port of 0", "udp", "four.test.:0", []string{"127.0.0.1:0"}},
		{"no port", "udp", "four.test.:", []string{"127.0.0.1:0"}},
		{"the name of a service", "udp", "four.test.:domain", []string{"127.0.0.1:53"}},
		{"an address", "udp", "192.0.2.1:9", []string{"192.0.2.1:9"}},
		{"an IPv6 address", "udp", "[2001:db8::2]:9", []string{"[2001:db8::2]:9"}},
		{"an address with a zone", "udp", "[fe80::1%lo]:9", []string{"[fe80::1%lo]:9"}},
		{"a 4-in-6 address", "udp4", "[::ffff:192.0.2.1]:9", []string{"192.0.2.1:9"}},
		{"no host of IPv4", "udp4", ":9", []string{"0.0.0.0:9"}},
		{"no host of IPv6", "udp6", ":9", []string{"[::]:9"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := cfg.Resolve(t.Context(), test.network, test.address)
			require.NoError(t, err)
			var ss []string
			for _, a := range got {
				ss = append(ss, a.String())
			}
			require.ElementsMatch(t, test.want, ss)
			r := sockettest.Next(t, cfg.ResolveAsync(t.Context(), test.network, test.address))
			require.NoError(t, r.Err)
			require.ElementsMatch(t, got, r.Addrs)
		})
	}
	t.Run("no host is the unspecified address of both families", func(t *testing.T) {
		got, err := udp.Resolve(t.Context(), "udp", ":9")
		require.NoError(t, err)
		require.Equal(t, []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), 9), netip.AddrPortFrom(netip.IPv4Unspecified(), 9)}, got)
	})
}

// Twisted: L2 UDPPortTestsMixin.test_invalidInterface test_resolver:resolveOnlyIPv4
// test_resolver:resolveOnlyIPv6 test_resolver:gaierror
func TestResolveErrors(t *testing.T) {
	s := newNameserver(t, zone)
	cfg := udp.Config{Resolver: s.resolver()}
	dns := func(t *testing.T, err error) {
		var de *net.DNSError
		require.ErrorAs(t, err, &de)
		require.True(t, de.IsNotFound)
	}
	addr := func(t *testing.T, err error) { require.ErrorAs(t, err, new(*net.AddrError)) }
	for _, test := range []struct {
		name, network, address string
		check                  func(*testing.T, error)
	}{
		{"an unknown name", "udp", "nobody.test.:9", dns},
		{"a name without addresses", "udp", "empty.test.:9", dns},
		{"a name without IPv6", "udp6", "four.test.:9", dns},
		{"a name without IPv4", "udp4", "six.test.:9", dns},
		{"an address of the other family", "udp4", "[::1]:9", func(t *testing.T, err error) { require.ErrorIs(t, err, udp.ErrFamily) }},
		{"an IPv4 address for IPv6", "udp6", "127.0.0.1:9", func(t *testing.T, err error) { require.ErrorIs(t, err, udp.ErrFamily) }},
		{"no port", "udp", "four.test.", addr},
		{"an unclosed bracket", "udp", "[::1:9", addr},
		{"a port out of range", "udp", "four.test.:65536", addr},
		{"a negative port", "udp", "four.test.:-1", addr},
		{"an unknown service", "udp", "four.test.:no-such-service", func(t *testing.T, err error) { require.ErrorAs(t, err, new(*net.DNSError)) }},
		{"another network", "tcp", "four.test.:9", func(t *testing.T, err error) { require.ErrorAs(t, err, new(net.UnknownNetworkError)) }},
		{"no network", "", "four.test.:9", func(t *testing.T, err error) { require.ErrorAs(t, err, new(net.UnknownNetworkError)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := cfg.Resolve(t.Context(), test.network, test.address)
			require.Empty(t, got)
			sockettest.RequireOpError(t, err, "resolve")
			test.check(t, err)
			r := sockettest.Next(t, cfg.ResolveAsync(t.Context(), test.network, test.address))
			require.Empty(t, r.Addrs)
			require.Equal(t, err.Error(), r.Err.Error())

			_, err = cfg.Listen(t.Context(), test.network, test.address, udp.BaseHandler{})
			sockettest.RequireOpError(t, err, "listen")
			test.check(t, err)
			_, err = cfg.Dial(t.Context(), test.network, test.address, udp.BaseHandler{})
			sockettest.RequireOpError(t, err, "dial")
			test.check(t, err)
			_, err = cfg.ListenMulticast(t.Context(), test.network, test.address, udp.BaseHandler{})
			sockettest.RequireOpError(t, err, "listen")
			test.check(t, err)
		})
	}
}

// A nameserver that does not answer holds up nothing but the caller, as long as
// its context says, and no reader.
//
// Twisted: N1 N3
func TestResolvingObeysItsContext(t *testing.T) {
	s := newNameserver(t, zone)
	s.silent.Store(true)
	cfg := udp.Config{Resolver: s.resolver()}

	h := sockettest.NewRecorder()
	c := sockettest.Listen(t, udp.Config{}, "udp4", h)
	h.Next(t, "Started")

	calls := map[string]func(context.Context) error{
		"Resolve": func(ctx context.Context) error { _, err := cfg.Resolve(ctx, "udp", "both.test.:9"); return err },
		"ResolveAsync": func(ctx context.Context) error {
			ch := cfg.ResolveAsync(ctx, "udp", "both.test.:9")
			r := <-ch
			_, more := <-ch
			assert.False(t, more)
			return r.Err
		},
		"Listen": func(ctx context.Context) error {
			_, err := cfg.Listen(ctx, "udp", "both.test.:0", udp.BaseHandler{})
			return err
		},
		"Dial": func(ctx context.Context) error {
			_, err := cfg.Dial(ctx, "udp", "both.test.:9", udp.BaseHandler{})
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- call(ctx) }()
			require.Equal(t, "both.test", sockettest.Next(t, s.queries))
			require.NoError(t, c.SendTo([]byte("still here"), c.LocalAddrPort()))
			h.Next(t, "Received")
			cancel()
			err := sockettest.Next(t, ended)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorAs(t, err, new(*net.OpError))
		})
		t.Run(name+" with a context that has ended", func(t *testing.T) {
			require.ErrorIs(t, call(sockettest.Canceled()), context.Canceled)
		})
		t.Run(name+" with a deadline that has passed", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 0)
			defer cancel()
			require.ErrorIs(t, call(ctx), context.DeadlineExceeded)
		})
	}
}

// Listen and Dial take names, and use the first of its addresses that works.
//
// Twisted: L2 N2
func TestListenAndDialTakeNames(t *testing.T) {
	s := newNameserver(t, map[string][]netip.Addr{
		"far.test":  addrs("192.0.2.1", "127.0.0.2"), // the first is not ours
		"away.test": addrs("192.0.2.1"),
	})
	cfg := udp.Config{Resolver: s.resolver()}
	h := sockettest.NewRecorder()
	c, err := cfg.Listen(t.Context(), "udp4", "far.test.:0", h)
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	require.Equal(t, "127.0.0.2", c.LocalAddrPort().Addr().String())
	require.Equal(t, "Started", sockettest.Next(t, h.Events).Name)
	require.Empty(t, h.Names(), "no failed attempt shows")

	_, err = cfg.Listen(t.Context(), "udp4", "away.test.:0", h)
	oe := sockettest.RequireOpError(t, err, "listen")
	require.Equal(t, "192.0.2.1:0", oe.Addr.String())
	require.Empty(t, h.Names(), "the Handler hears nothing of it")
}

// Errors name what was asked for, once.
func TestResolveErrorsNameTheAddress(t *testing.T) {
	for _, test := range []struct{ network, address, want string }{
		{"udp", "localhost:99999", "resolve udp localhost:99999: address 99999: invalid port"},
		{"udp4", "[::1]:53", "resolve udp4 [::1]:53: udp: address family does not fit the socket"},
		{"udp", "53", "resolve udp: address 53: missing port in address"},
	} {
		_, err := udp.Resolve(t.Context(), test.network, test.address)
		require.EqualError(t, err, test.want)
	}
	_, err := udp.Dial(t.Context(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	require.EqualError(t, err, "dial udp 127.0.0.1:0: cannot connect to port 0")
}

// A name that has several addresses: Listen takes the first that this host has,
// and says so when its port is taken, where the next address would be another
// service's than the name's clients find.
func TestListenOnANameOfSeveralAddresses(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{})
	host := n.Host("here", "10.1.0.1/24", "10.1.0.2/24")
	n.AddName("service", "10.9.0.1", "10.1.0.1", "10.1.0.2")
	cfg := udp.Config{Network: host.Network()}
	c, err := cfg.Listen(t.Context(), "udp", "service:9", udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	require.Equal(t, netip.MustParseAddrPort("10.1.0.1:9"), c.LocalAddrPort())
	_, err = cfg.Listen(t.Context(), "udp", "service:9", udp.BaseHandler{})
	sockettest.RequireOpError(t, err, "listen")
	require.ErrorIs(t, err, sys.EADDRINUSE)
}

// hosts is a network whose names are resolved at once.
type hosts struct{ *sockettest.Scripted }

func (hosts) LookupIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.IPv6Loopback()}, nil
}

// A context that has ended ends a lookup, also of a name that is known already.
func TestNothingIsResolvedAfterTheEnd(t *testing.T) {
	cfg := udp.Config{Network: hosts{sockettest.NewScripted()}}
	addrs, err := cfg.Resolve(t.Context(), "udp", "localhost:7")
	require.NoError(t, err)
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("[::1]:7")}, addrs)
	addrs, err = cfg.Resolve(sockettest.Canceled(), "udp", "localhost:7")
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, addrs)
}
