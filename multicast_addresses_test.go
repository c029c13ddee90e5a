package udp_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// A socket of both families joins groups of both.
func TestGroupsOfBothFamilies(t *testing.T) {
	onCable(t, func(t *testing.T, c wire, fam family) {
		h := sockettest.NewRecorder()
		m, err := udp.ListenMulticast(t.Context(), "udp", ":0", h, families[0].group, families[1].group)
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, m)
		h.Next(t, "Started")
		require.Len(t, m.Memberships(), 2)
		s := c.sender(t, fam)
		require.NoError(t, s.SendTo([]byte("x"), netip.AddrPortFrom(fam.group, m.LocalAddrPort().Port())))
		e := h.Next(t, "Received")
		require.Equal(t, fam.group, e.Datagram.To().Addr())
		require.Equal(t, fam.right, e.Datagram.From.Addr())
		require.NoError(t, m.SetMulticastTTL(7))
		n, err := m.MulticastTTL()
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
					h := sockettest.NewRecorder()
					m, err := udp.ListenMulticast(t.Context(), network, test.address, h, test.groups...)
					require.NoError(t, err)
					sockettest.CloseAtEnd(t, m)
					h.Next(t, "Started")
					require.Equal(t, fam.group.Is4(), m.LocalAddrPort().Addr().Is4())
					ms := m.Memberships()
					require.Len(t, ms, test.want)
					require.Equal(t, fam.group, ms[0].Group)
					require.True(t, ms[0].All)
					s := c.sender(t, fam)
					require.NoError(t, s.SendTo([]byte("x"), netip.AddrPortFrom(fam.group, m.LocalAddrPort().Port())))
					require.Equal(t, fam.group, h.Next(t, "Received").Datagram.To().Addr())
				}
			})
		}
		_, err := udp.ListenMulticast(t.Context(), fam.network, net.JoinHostPort(fam.group.String(), "0"), udp.BaseHandler{}, fam.other)
		sockettest.RequireOpError(t, err, "join")
		require.ErrorIs(t, err, syscall.EINVAL, "bound to one group it hears no other")
	})
}

// What can't be joined says why.
//
// Twisted: M2 MulticastTests.test_joinFailure
func TestBadMemberships(t *testing.T) {
	lo := loopbackInterface(t)
	for _, fam := range families {
		if fam.network == "udp6" && len(sockettest.Networks(t)) == 1 {
			continue
		}
		t.Run(fam.network, func(t *testing.T) {
			h := sockettest.NewRecorder()
			m := memberOf(t, udp.Config{}, fam.network, ":0", h, nil)
			h.Next(t, "Started")
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
						sockettest.RequireOpError(t, test.err, test.op)
					}
				})
			}
			_, err := udp.ListenMulticast(t.Context(), fam.network, ":0", h, fam.group, fam.notAGroup)
			require.ErrorIs(t, err, syscall.EINVAL)
			_, err = udp.ListenMulticast(t.Context(), fam.network, ":0", h, fam.wildly)
			require.ErrorIs(t, err, udp.ErrFamily)
			require.Empty(t, h.Names(), "the Handler hears nothing of it")

			sockettest.Stop(t, m)
			for _, err := range []error{
				m.Join(fam.group, lo), m.Leave(fam.group), m.JoinSource(fam.group, fam.left, lo),
				m.LeaveSource(fam.group, fam.left), m.SetMulticastTTL(1), m.SetMulticastLoopback(true), m.SetMulticastInterface(lo),
			} {
				require.ErrorIs(t, err, net.ErrClosed)
				require.ErrorAs(t, err, new(*net.OpError))
			}
			_, err = m.MulticastTTL()
			require.ErrorIs(t, err, net.ErrClosed)
			_, err = m.MulticastLoopback()
			require.ErrorIs(t, err, net.ErrClosed)
		})
	}
}
